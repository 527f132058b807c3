"""Reading weight files that others wrote, without trusting them."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antcli.artifacts import load_tensors
from antcli.errors import AntError

NESTINGS = ("ema", "state_dict", "model")
"""Names that training code keeps a state dict under; averaged weights before those of a step."""
RUNS_CODE = frozenset(
    {"builtins", "__builtin__", "os", "posix", "nt", "sys", "subprocess", "commands", "shutil"}
    | {
        "importlib",
        "runpy",
        "pty",
        "socket",
        "ctypes",
        "code",
        "marshal",
        "pickle",
        "multiprocessing",
    }
)
"""Modules that no training leaves in its checkpoints, and attacks do. Nothing of any module that a
file asks for is executed; a file that asks for these is refused all the same."""
PLAIN_TYPES = frozenset(
    f"builtins.{kind.__name__}"
    for kind in (int, float, str, bool, bytes, list, dict, tuple, object)
)
"""The only names of `builtins` that are passed over."""
MOST_LEFTOVERS = 100
"""Other classes that a checkpoint may name: each costs a reading of its pickle."""


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pt, .pth, .ckpt or .bin file, whatever they are wrapped in.

    As `read_weights`. Raises `AntError` also where the file is missing or has no tensors.
    """
    if not file.is_file():
        raise AntError(f"there is no file {file}", "check the path")
    state = _innermost(read_weights(file))
    tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise AntError(f"{file} has no weights in it", "give the file that has the state dict")
    while all(name.startswith("module.") for name in tensors):  # added by DataParallel
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def read_weights(file: Path) -> Mapping[str, Any]:
    """What a .safetensors or a pickled PyTorch file maps names to, nothing in it executed.

    Pickles are mapped into memory where their format allows: a tensor is read when it is used.
    What training leaves beside weights (numpy numbers, settings, notes of callbacks) is passed
    over. A list as ddim writes it, [model, optimiser, epoch, step, ema], is given as a mapping.
    Raises `AntError` where the file is cut short, of another kind, or asks for what runs code.
    """
    content = load_tensors(file) if file.suffix == ".safetensors" else _unpickled(file)
    if isinstance(content, Mapping):
        return content
    return _states(content) if isinstance(content, list | tuple) else {}


def misfit(tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> str:
    """The first reason why `tensors` lack something of `expected`; empty if they do not."""
    for name, shape in expected.items():
        found = tensors.get(name)
        if not isinstance(found, Tensor):
            return f"{name} is missing"
        if found.shape != shape:
            return f"{name} is {list(found.shape)}, not {list(shape)}"
    return ""


class _Leftover:
    """In the place of whatever a file names beside its weights: takes anything, does nothing."""

    def __new__(cls, *_arguments: object) -> _Leftover:
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


def _unpickled(file: Path) -> Any:
    zipped = zipfile.is_zipfile(file)
    leftovers: list[Any] = []
    while True:
        try:
            with torch.serialization.safe_globals(leftovers):
                content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
        except Exception as error:  # whatever a broken pickle makes the unpickler stumble over
            asked = re.search(r"GLOBAL ([\w.]+)", str(error))
            name = asked[1] if asked else leftovers[-1][1] if zipped and leftovers else ""
            name = name if not name or "." in name else f"builtins.{name}"  # which torch leaves out
            if not name:
                raise AntError(
                    f"{file} is not a whole PyTorch weights file",
                    "it was cut short or is of another kind: remove it and get it again",
                ) from error
            if not (zipped or _is_of_torch(file)) or not _harmless(name, leftovers):
                raise _more_than_weights(file, name) from error
            leftovers.append((_Leftover, name))
        else:
            if isinstance(content, _Leftover):  # a whole network, of whatever class
                raise _more_than_weights(file, leftovers[0][1])
            return content


def _more_than_weights(file: Path, name: str) -> AntError:
    return AntError(
        f"{file} asks for {name}, which is more than weights: it could run any code",
        "get the weights alone, or have their author save them as safetensors",
    )


def _harmless(name: str, before: Sequence[object]) -> bool:
    known = name in PLAIN_TYPES or name.partition(".")[0] not in RUNS_CODE
    return known and (_Leftover, name) not in before and len(before) < MOST_LEFTOVERS


def _is_of_torch(file: Path) -> bool:
    """Whether a file that is no zip begins as those of torch before 1.6, unlike other pickles."""
    magic = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
    with file.open("rb") as opened:
        return opened.read(len(magic)) == magic


def _states(content: Sequence[object]) -> dict[str, Any]:
    states = [s for s in content if isinstance(s, Mapping) and "param_groups" not in s]
    return {"model": states[0], "ema": states[-1]} if states else {}


def _innermost(state: Mapping[str, Any]) -> Mapping[str, Any]:
    seen = [state]
    while True:
        nested = (state[name] for name in NESTINGS if isinstance(state.get(name), Mapping))
        inner = next(nested, None)
        if inner is None or any(inner is outer for outer in seen):  # a file may hold itself
            return state
        seen.append(inner)
        state = inner
