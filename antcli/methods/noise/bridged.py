"""Noise in which the source's counterpart of an image hides: a bridge from source to target.

At the limit in t a sample is still the source's, of somebody without glasses, say; further down it
shall be the target's. Noised target images never show the network such a sample: in them the
glasses are there at every t. With the noise eps + kappa (x'_0 - x_0), kappa = alpha / sigma at the
limit, x_t at the limit is the counterpart x'_0 with noise eps, and turns into x_0 as sigma falls,
on the way that a sampler without noise of its own would take. A share u of kappa stands for the
samplers that forget some of the noise at every step.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from antcli.methods.choice import Choice, Rule, Step
from antcli.methods.counterparts import CounterpartSettings


@dataclass(frozen=True)
class BridgedNoise(Rule):
    """eps + u kappa (x'_0 - x_0), u the square root of a uniform number."""

    kappa: float
    """alpha / sigma at the limit."""

    def __call__(self, step: Step) -> Tensor:
        """[B, C, H, W]."""
        u = step.chance[:, 1].sqrt().view(-1, 1, 1, 1).to(step.x_0)
        return step.eps + u * self.kappa * (step.counterpart - step.x_0)


CHOICE = Choice(
    "noise that hides the source's counterpart of each image",
    lambda settings, prepared: BridgedNoise(prepared["counterparts"].bridge),
    tables={"counterparts": CounterpartSettings},
    stages=("counterparts",),
)
