"""State of a training as one safetensors file: weights, averages, moments of the optimisers.

Its metadata has a hash of all it holds, by which a damaged file is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antcli.artifacts import flat_metadata, load_metadata, load_tensors, save_tensors
from antcli.errors import AntError
from antcli.training.ema import Ema

KINDS = ("weights/", "average/", "optimizer/")
"""What the names of a part's tensors begin with."""
DIGEST = "ant.sha256"
"""Where the metadata of a state has its hash."""


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
                parameter = self.parameters[name]
                # AdamW counts its steps on the CPU, whatever the device of the moments; where it
                # is fused, on the device.
                counts_apart = moment == "step" and not self.optimizer.defaults["fused"]
                device = torch.device("cpu") if counts_apart else parameter.device
                self.optimizer.state[parameter][moment] = value.to(device)
            else:
                where = self.parameters if kind == "weights" else self.ema.average
                where[name].copy_(value)


def save_state(
    path: Path,
    parts: Mapping[str, Trained],
    step: int,
    metadata: Mapping[str, Any],
    before: Path | None = None,
) -> None:
    """Write all that the steps after `step` depend on; tensors of a part begin with its name.

    The state that was at `path` goes to `before`, if given.
    """
    tensors = {
        f"{part}{name}": tensor.detach().cpu().contiguous()
        for part, trained in parts.items()
        for name, tensor in trained.state().items()
    }
    told = flat_metadata({**metadata, "ant.step": str(step)})
    save_tensors(path, tensors, {**told, DIGEST: _digest(tensors, told)}, before)


def is_whole(path: Path) -> bool:
    """Whether a state is what was written; those of older versions, without a hash, seem so."""
    try:
        metadata, tensors = load_metadata(path), load_tensors(path)
    except AntError:
        return False
    digest = metadata.pop(DIGEST, None)
    metadata.pop("format", None)
    return digest is None or digest == _digest(tensors, metadata)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Of the names, kinds and bytes of tensors on the CPU, and of what is told of them."""
    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
