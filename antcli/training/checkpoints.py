"""State of a training as one safetensors file: weights, averages, moments of the optimisers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antcli.artifacts import load_metadata, load_tensors, save_tensors
from antcli.errors import AntError
from antcli.training.ema import Ema

KINDS = ("weights/", "average/", "optimizer/")
"""What the names of a part's tensors begin with."""


@dataclass
class Trained:
    """Parameters with their optimiser and their running average."""

    parameters: Mapping[str, nn.Parameter]
    ema: Ema
    optimizer: torch.optim.Optimizer

    def state(self) -> dict[str, Tensor]:
        """All that its next steps depend on."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"weights/{name}"] = parameter
            tensors[f"average/{name}"] = self.ema.average[name]
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value)
        return tensors

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether `tensors` are the state of such a model."""
        shapes = {
            name.removeprefix("weights/"): tensor.shape
            for name, tensor in tensors.items()
            if name.startswith("weights/")
        }
        own = {name: parameter.shape for name, parameter in self.parameters.items()}
        return shapes == own and all(name.startswith(KINDS) for name in tensors)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave, in place."""
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            if kind == "optimizer":
                moment, _, name = name.partition("/")
                # AdamW keeps its count of steps on the CPU, whatever the device of the moments.
                device = "cpu" if moment == "step" else self.parameters[name].device
                self.optimizer.state[self.parameters[name]][moment] = value.to(device)
            else:
                where = self.parameters if kind == "weights" else self.ema.average
                where[name].copy_(value)


def save_state(
    path: Path, parts: Mapping[str, Trained], step: int, metadata: Mapping[str, Any]
) -> None:
    """Write all that the steps after `step` depend on; tensors of a part begin with its name."""
    tensors = {
        f"{part}{name}": tensor
        for part, trained in parts.items()
        for name, tensor in trained.state().items()
    }
    save_tensors(path, tensors, {**metadata, "ant.step": str(step)})


def load_state(path: Path, parts: Mapping[str, Trained]) -> dict[str, str]:
    """Put back what `save_state` wrote, in place. Returns the metadata, `ant.step` in it."""
    tensors = load_tensors(path)
    found = {}
    for part in sorted(parts, key=len, reverse=True):
        names = [name for name in tensors if name.startswith(part)]
        found[part] = {name.removeprefix(part): tensors.pop(name) for name in names}
    if not all(trained.fits(found[part]) for part, trained in parts.items()):
        raise AntError(
            f"{path} holds the state of another model",
            "choose another `out`, or start this run again with `force`",
        )
    for part, trained in parts.items():
        trained.restore(found[part])
    return load_metadata(path)
