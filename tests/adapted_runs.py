"""Finished runs: by a quick training, or without: then what trains has random values, so it is far
from its source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from antcli.artifacts import file_hash, save_tensors
from antcli.cli.main import main
from antcli.config import adapt_config_from
from antcli.images.target import check_target
from antcli.methods.build import build_network
from antcli.runs.adapted import IMAGES
from antcli.runs.run import Run
from antcli.sources.source import find_source


def adapted_run(
    folder: Path,
    source: Path | str,
    target: Path,
    asks: dict[str, Any] | None = None,
    images: int = 0,
    **said: Any,
) -> Run:
    """`said` are settings; `asks` is what the source is asked with, as a run keeps it; so many
    `images` are conditions of their own.
    """
    config = adapt_config_from({"source": str(source), "target": str(target), **said})
    asked = find_source(config.source).conditioned_by(asks or {}, 0.0)
    paths, known = check_target(target)
    size = 0 if known is None else known.size
    network = build_network(asked.load(), config, asked.convention, conditions=size, images=images)
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
    told = {"ant.t_limit": repr(network.t_limit), **({IMAGES: str(images)} if images else {})}
    save_tensors(run.weights, network.trained(), told)
    return run


def trained_run(source: Path, target: Path, settings: Path, out: Path, *more: str) -> Path:
    """`ant adapt` as it is typed, into `out`; nothing outside its folder is written."""
    options = ["--target", str(target), "--out", str(out), "--config", str(settings), *more]
    plain = ["--mixed-precision", "no", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(out.parent / "state"))
        with pytest.raises(SystemExit) as end:
            main(["adapt", "--source", str(source), *options, *plain])
    assert end.value.code == 0
    return out
