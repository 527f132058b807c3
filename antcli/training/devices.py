"""Device and precision: an `Accelerator` from what the user asked for."""

from __future__ import annotations

from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import patch_environment

from antcli.config import Precision
from antcli.errors import AntError


def resolve_device(device: str) -> str:
    """`auto` to cuda, mps or cpu. Raises `AntError` for a device that is not there."""
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = device.partition(":")[0]
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if kind not in there:
        raise AntError(
            f"unknown device {device!r}", "use auto, cpu, cuda, cuda:N or mps", exit_code=2
        )
    if not there[kind]:
        raise AntError(f"there is no {kind} device here", "use --device auto", exit_code=1)
    return device


def resolve_precision(precision: Precision, device: str) -> Literal["no", "fp16", "bf16"]:
    """`auto` to the fastest precision that trains stably on `device`."""
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if device == "cpu" and _cpu_has_bf16() else "no"


def make_accelerator(device: str, precision: Precision) -> Accelerator:
    """The accelerator that training runs on; several processes come from `accelerate launch`."""
    device = resolve_device(device)
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    # One process may run several commands, each with its own precision.
    AcceleratorState._reset_state(reset_partial_state=False)
    on_cpu, kind = device == "cpu", resolve_precision(precision, device)
    # It asks for its state before it says where that is to be; later commands shall not inherit it.
    with patch_environment(**({"ACCELERATE_USE_CPU": "true"} if on_cpu else {})):
        return Accelerator(cpu=on_cpu, mixed_precision=kind)


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 natively; elsewhere it is slower than float32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
