"""Reading weight files that others wrote, without trusting them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antcli.artifacts import load_tensors
from antcli.errors import AntError


def read_weights(file: Path) -> Mapping[str, Any]:
    """What a .safetensors or a pickled PyTorch file maps names to, nothing in it executed.

    Pickles are mapped into memory where their format allows: a tensor is read when it is used.
    Raises `AntError` where the file is cut short, of another kind, or asks for more than weights.
    """
    return load_tensors(file) if file.suffix == ".safetensors" else _unpickled(file)


class _StandIn:
    """In the place of a class that a file names beside its weights, and that nobody needs."""


_STAND_INS: list[Any] = [
    # Checkpoints of early Lightning keep what their callbacks noted under the callback's class.
    (_StandIn, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
]


def _unpickled(file: Path) -> Mapping[str, Any]:
    try:
        lazily = zipfile.is_zipfile(file)
        with torch.serialization.safe_globals(_STAND_INS):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=lazily)
    except Exception as error:  # whatever a broken pickle makes the unpickler stumble over
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked is not None:
            raise AntError(
                f"{file} asks for {asked[1]}, which is more than weights: it could run any code",
                "get the weights alone, or have their author save them as safetensors",
            ) from error
        raise AntError(
            f"{file} is not a whole PyTorch weights file",
            "it was cut short or is of another kind: remove it and get it again",
        ) from error
    return content if isinstance(content, Mapping) else {}


def misfit(tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> str:
    """The first reason why `tensors` lack something of `expected`; empty if they do not."""
    for name, shape in expected.items():
        found = tensors.get(name)
        if not isinstance(found, Tensor):
            return f"{name} is missing"
        if found.shape != shape:
            return f"{name} is {list(found.shape)}, not {list(shape)}"
    return ""
