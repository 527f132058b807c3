"""Which filters matter to the target (AdAM): a probe, before an adaptation modulates them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.artifacts import save_tensors
from antcli.config import AdaptConfig
from antcli.methods.trainable.modulation import ModulatedDenoiser, important
from antcli.processes import others_wait
from antcli.training.inputs import Inputs, metadata, network_of
from antcli.training.loop import Training
from antcli.training.source_examples import squared_gradients
from antcli.training.source_samples import examples_of


@dataclass(frozen=True)
class Probed:
    """So many steps and gradients of the probe are done."""

    done: int
    total: int


def probe(
    inputs: Inputs,
    config: AdaptConfig,
    accelerator: Accelerator,
    out: Path,
    prepared: Mapping[str, Any],
) -> Iterator[Probed]:
    """Modulate all filters for a while; write which matter to `out`. All processes take part."""
    settings, network = config.modulation, network_of(inputs, config, prepared)
    assert isinstance(network, ModulatedDenoiser)
    network.modulate_all()
    examples = examples_of(inputs.source, inputs.target.images, accelerator.device)
    total = settings.probe_steps + settings.probe_draws
    plain = replace(config.training, steps=settings.probe_steps)
    labels = inputs.labels(network)
    told: Any = {"seed": config.seed, "conditions": labels}
    training = Training(network, examples, plain, accelerator, **told)
    for record in training.steps():
        yield Probed(record.step, total)
    accelerator.free_memory()
    with others_wait(accelerator):
        if not accelerator.is_main_process:
            return
        fisher = {name: torch.zeros_like(v) for name, v in network.vs().items()}
        for k in range(settings.probe_draws):
            squares: dict[str, Tensor] = squared_gradients(
                network, examples, config.seed, k, labels
            )
            for name in fisher:
                fisher[name] += squares[f"changes.{name}.v"] / settings.probe_draws
            yield Probed(settings.probe_steps + k + 1, total)
        filters = important({name: f.cpu() for name, f in fisher.items()}, settings.quantile)
        save_tensors(out, filters, metadata(inputs, config, "filters that matter to the target"))
