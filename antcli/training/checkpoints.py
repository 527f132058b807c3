"""State of a training as one safetensors file: weights, averages, moments of the optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antcli.artifacts import load_metadata, load_tensors, save_tensors
from antcli.errors import AntError
from antcli.training.ema import Ema


def save_state(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    step: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write all that the steps after `step` depend on."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"weights/{name}"] = parameter
        tensors[f"average/{name}"] = ema.average[name]
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value)
    save_tensors(path, tensors, {**metadata, "ant.step": str(step)})


def load_state(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    ema: Ema,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Put back what `save_state` wrote, in place. Returns the step it was written after."""
    tensors = load_tensors(path)
    shapes = {
        name.removeprefix("weights/"): tensor.shape
        for name, tensor in tensors.items()
        if name.startswith("weights/")
    }
    if shapes != {name: parameter.shape for name, parameter in parameters.items()}:
        raise AntError(
            f"{path} holds the state of another model",
            "choose another --out, or start this run again with --force",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors.pop(f"weights/{name}"))
            ema.average[name].copy_(tensors.pop(f"average/{name}"))
    for key, value in tensors.items():
        _, moment, name = key.split("/", 2)
        # AdamW keeps its count of steps on the CPU, whatever the device of the moments.
        device = "cpu" if moment == "step" else parameters[name].device
        optimizer.state[parameters[name]][moment] = value.to(device)
    return int(load_metadata(path)["ant.step"])
