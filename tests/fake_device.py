"""A device that is not here and has no float64, as Apple's mps: its tensors live on the CPU.

Tensors whose device is "meta" stand for those of the device. Whatever would be float64 there, or
mixes both devices where torch refuses it, raises `RuntimeError`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")
crossings: list[str] = []
"""What has gone from the one to the other, in either direction: a GPU waits for most of it."""


class _There(Tensor):
    """A tensor of the device; `here` holds its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> _There:
        if here.dtype == torch.float64:
            raise RuntimeError("this device has no float64")
        there = Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), dtype=here.dtype, device=DEVICE
        )
        there.here = here
        return there

    def tolist(self) -> Any:
        """Which torch refuses of what wraps a tensor."""
        return self.here.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class FakeDevice(TorchDispatchMode):
    """While it is entered, "meta" is the device; also what of an `Accelerator` an engine asks."""

    device = DEVICE

    def autocast(self) -> Any:
        """None."""
        return nullcontext()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = any(isinstance(tensor, _There) for tensor in tensors)
    if kwargs.get("device") is not None:
        before, there = there, torch.device(kwargs["device"]) == DEVICE
        if before != there and any(tensor.ndim for tensor in tensors):
            crossings.append(str(func))
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif there and any(t.ndim and not isinstance(t, _There) for t in tensors) and not _copies(func):
        raise RuntimeError(f"{func} with tensors of two devices")
    args, kwargs = tree_map_only(_There, lambda tensor: tensor.here, (args, kwargs))
    found = func(*args, **kwargs)
    return tree_map_only(Tensor, _There, found) if there else found


def _copies(func: Callable[..., Any]) -> bool:
    return "copy" in str(func) or "index" in str(func)
