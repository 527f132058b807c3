"""Within a step the host waits for nothing that a device computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from begun_trainings import begun as begun_training
from begun_trainings import few_steps
from torch.utils._python_dispatch import TorchDispatchMode

from antcli.devices import make_accelerator
from antcli.methods.table import METHODS
from antcli.training.loop import Training

LOOKS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
"""What `.item()`, `float()`, `int()` and `bool()` of a tensor come to, and `if` of one."""
SHAPED = (torch.ops.aten.nonzero.default, torch.ops.aten.masked_select.default)
"""Their result has a shape that the device has to tell."""


class Watching(TorchDispatchMode):
    """Notes what makes the host wait, if the tensors were on a device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LOOKS or func in SHAPED:
            self.seen.append(str(func))
        if func is torch.ops.aten.index.Tensor:
            self.seen += ["a mask" for i in args[1] if i is not None and i.dtype == torch.bool]
        return func(*args, **(kwargs or {}))


Begun = Callable[[str, str], Training]


@pytest.fixture
def begun(tiny_source: Path, tiny_target: Path, tmp_path: Path) -> Begun:
    """Makes the training of a method on a device, its stages done."""

    def make(method: str, device: str) -> Training:
        config = few_steps(method, tiny_source, tiny_target)
        return begun_training(config, tmp_path / method, make_accelerator(device, "no"))

    return make


def test_what_waits_is_noticed() -> None:
    x = torch.arange(3.0)
    for wait in (lambda: x[0].item(), lambda: bool(x.any()), lambda: float(x.sum()), x.nonzero):
        with Watching() as watching:
            wait()
        assert len(watching.seen) == 1
    with Watching() as watching:
        x[x > 1]
    assert watching.seen


@pytest.mark.parametrize("method", METHODS)
def test_a_step_waits_for_nothing_on_its_way_to_the_gradient(method: str, begun: Begun) -> None:
    training = begun(method, "cpu")
    part, steps = training.parts[""], training.steps()
    next(steps)
    batch = training._draw()
    with Watching() as watching, training.network.below_limit():
        loss = part.backward(batch)
        part.ema.update(2)
    assert watching.seen == []
    assert loss.isfinite()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_is_not_waited_for_within_a_step(method: str, begun: Begun) -> None:
    training = begun(method, "cuda")
    part, steps = training.parts[""], training.steps()
    next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = training._draw()
        with training.network.below_limit():
            part.backward(batch)
        part.ema.update(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
