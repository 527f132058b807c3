"""A `Step` of given tensors, as a rule of a method sees it."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from antcli.diffusion.convention import PLAIN
from antcli.methods.choice import Step


def as_step(
    x_0: Tensor,
    eps: Tensor,
    t: Tensor,
    predict: Callable[[Tensor, Tensor], Tensor] | None = None,
    source: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Step:
    """Of a network that is nothing but `predict`, on the betas of Ho et al."""

    class Network(SimpleNamespace):
        def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
            assert predict is not None
            return predict(x_t, t)

    network: Any = Network(convention=PLAIN, source=source)
    upright = torch.zeros(len(t), dtype=torch.bool)
    chance = torch.rand(len(t), 3, generator=torch.Generator().manual_seed(len(t)))
    images = torch.arange(len(t))
    return Step(network, network, nullcontext, x_0, eps, t, images, upright, chance)


def as_step_at(x_t: Tensor, eps: Tensor, t: Tensor) -> Step:
    """Of an x_t that need not follow from any x_0."""
    step = as_step(torch.zeros_like(x_t), eps, t)
    step.__dict__["x_t"] = x_t
    return step
