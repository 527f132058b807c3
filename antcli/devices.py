"""Device and precision: an `Accelerator` from what the user asked for."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, patch_environment

from antcli.config import Precision
from antcli.errors import AntError
from antcli.processes import ALONE, Shares, launched

SHARDING = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
"""What of accelerate's takes a network apart."""
WAIT = timedelta(minutes=30)
"""How long processes wait for one another within a step, where all have as much to do.

What one of them does alone is waited for in another way (`processes.others_wait`), without an end.
A process that dies its launcher notices at once; this is for a network that fails in silence.
"""


def resolve_device(device: str) -> str:
    """`auto` to cuda, mps or cpu. Raises `AntError` for a device that is not there."""
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", device):
        raise AntError(
            f"unknown device {device!r}", "use auto, cpu, cuda, cuda:N or mps", exit_code=2
        )
    kind, _, number = device.partition(":")
    if (kind == "cuda" and not torch.cuda.is_available()) or (
        kind == "mps" and not torch.backends.mps.is_available()
    ):
        raise AntError(f"there is no {kind} device here", "use auto, which takes what there is")
    if number and int(number) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        there = f"cuda:0 to cuda:{last} are" if last else "cuda:0 alone is"
        raise AntError(f"there is no {device} here, {there}", "use one of these or auto")
    return device


def shared_work(device: str) -> tuple[Shares, str]:
    """How the processes divide a work, and where this one does its part.

    That is `device`, resolved, or of several processes its own of that kind. Raises `AntError` for
    a device that is not there.
    """
    if launched() == 1:
        return ALONE, resolve_device(device)
    accelerator = make_accelerator(device, "no")
    return Shares(accelerator), str(accelerator.device)


def resolve_precision(precision: Precision, device: str) -> Literal["no", "fp16", "bf16"]:
    """`auto` to the fastest precision that trains stably on `device`, one that was resolved."""
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        # Cards before Ampere compute bf16 through float32: slower than float32 itself.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if native else "fp16"
    return "bf16" if device == "cpu" and _cpu_has_bf16() else "no"


def make_accelerator(device: str, precision: Precision) -> Accelerator:
    """The accelerator that training runs on; several processes come from `accelerate launch`.

    Raises `AntError` for a device that is not there.
    """
    device = resolve_device(device)
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    on_cpu, kind = device == "cpu", resolve_precision(precision, device)
    # One process may run several commands, each with its own precision and device.
    AcceleratorState._reset_state(reset_partial_state=not _one_of_several())
    # It asks for its state before it says where that is to be; later commands shall not inherit it.
    with patch_environment(**({"ACCELERATE_USE_CPU": "true"} if on_cpu else {})):
        waiting = InitProcessGroupKwargs(timeout=WAIT)
        accelerator = Accelerator(cpu=on_cpu, mixed_precision=kind, kwargs_handlers=[waiting])
    if accelerator.distributed_type in SHARDING:
        raise AntError(
            f"accelerate is configured for {accelerator.distributed_type.value}: these networks "
            "are asked outside of the training pass too, and are not sharded",
            "use plain data parallelism; `low_memory` saves memory",
            exit_code=2,
        )
    return accelerator


def _one_of_several() -> bool:
    """Whether processes are connected already: they stay so until the end."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 natively; elsewhere it is slower than float32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
