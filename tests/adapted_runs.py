"""Finished runs without a training: what trains has random values, so it is far from its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from antcli.artifacts import file_hash, save_tensors
from antcli.config import adapt_config_from
from antcli.images.target import check_target
from antcli.methods.build import build_network
from antcli.runs import Run
from antcli.sources.source import find_source


def adapted_run(
    folder: Path, source: Path | str, target: Path, asks: dict[str, Any] | None = None, **said: Any
) -> Run:
    """`said` are settings; `asks` is what the source is asked with, as a run keeps it."""
    config = adapt_config_from({"source": str(source), "target": str(target), **said})
    asked = find_source(config.source).conditioned_by(asks or {}, 0.0)
    paths, known = check_target(target)
    size = 0 if known is None else known.size
    network = build_network(asked.load(), config, asked.convention, conditions=size)
    draw = torch.Generator().manual_seed(0)
    for parameter in network.trained().values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
    run = Run(folder)
    identity = {
        "source_sha256": asked.sha256,
        "target_folder": str(target),
        "target_sha256": [file_hash(path) for path in paths],
        "conditions": known and known.as_dict(),
    }
    run.begin(config, identity, clear=False)
    run.write_facts(config, identity, status="finished", step=7)
    if asks:
        save_tensors(run.condition, asks, {})
    save_tensors(run.weights, network.trained(), {"ant.t_limit": repr(network.t_limit)})
    return run
