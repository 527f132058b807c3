"""The state dict in a file of original code, whatever it is wrapped in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from antcli.errors import AntError
from antcli.weights import read_weights

NESTINGS = ("ema", "state_dict", "model")
"""Names that training code keeps a state dict under; averaged weights before those of a step."""


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pt, .pth, .ckpt or .bin file, nothing in it executed.

    Pickles are mapped into memory where their format allows: a tensor is read when it is used.
    Raises `AntError` where the file is missing, cut short, or holds more or less than weights.
    """
    if not file.is_file():
        raise AntError(f"there is no file {file}", "check the path")
    state = _innermost(read_weights(file))
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise AntError(f"{file} has no weights in it", "give the file that has the state dict")
    while all(name.startswith("module.") for name in tensors):  # added by DataParallel
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _innermost(state: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = (state[name] for name in NESTINGS if isinstance(state.get(name), Mapping))
    inner = next(nested, None)
    return state if inner is None else _innermost(inner)
