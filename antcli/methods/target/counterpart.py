"""The noise, less what the source gets wrong about the counterpart: people are not learnt.

Of ten images a network learns two things: what their domain is, and whom they show. What the source
gets wrong about the counterpart x'_0, eps - eps_source(x'_t) with the same noise, holds the second
and not the first. It is taken off the target as a control variate. Where it is known which places
of the image are the counterpart's it is taken off in these; else of all the image, as much as the
source's error about it shares with it, by least squares: all of it where the counterpart is the
image.

Where all images are put on others, as pixels, an error counts as sigma / alpha, not alike at every
t. A sample is drawn down sigma / alpha, so that what eps gets wrong moves it by more where there is
more of it (Song et al. 2021, Eq. 13). And where there is little noise, gradients are twenty times
as long: in the few steps that there are they would be all that is learnt, and the colour and shape
of what is new are settled where there is much (benchmarks/LOG.md). Of a finish, whose texture
little noise shows, and of latents all counts alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antcli.methods.choice import Choice, Rule, Step
from antcli.methods.counterparts import Counterparts, CounterpartSettings


@dataclass(frozen=True)
class CounterpartTarget(Rule):
    """eps - beta (eps_drawn - eps_source(x'_t, t)), beta of each place or of each image."""

    by_noise: bool = False
    """Whether an error counts as sigma / alpha."""

    def __call__(self, step: Step) -> Tensor:
        """[B, C, H, W]."""
        if step.kept is not None:
            (wrong,) = source_errors(step, step.counterpart)
            return step.eps - step.kept * wrong
        own, wrong = source_errors(step, step.x_0, step.counterpart)
        return step.eps - coefficient(own, wrong) * wrong

    def weight(self, step: Step) -> Tensor | float:
        """What an error counts: sigma / alpha, [B, 1, 1, 1], or 1."""
        if not self.by_noise:
            return 1.0
        alpha, sigma = step.path.alpha_sigma(step.t, step.x_t)
        return sigma / alpha


def source_errors(step: Step, *x_0: Tensor) -> tuple[Tensor, ...]:
    """What the source gets wrong about each x_0 with the noise of a step: eps - eps_source(x_t, t).

    All in one pass: twice the images take less than twice the time.
    """
    eps = step.drawn.repeat(len(x_0), 1, 1, 1)
    t = step.t.repeat(len(x_0))
    wrong = eps - step.source(step.path.add_noise(torch.cat(x_0), eps, t), t)
    return wrong.chunk(len(x_0))


def coefficient(own: Tensor, counterpart: Tensor) -> Tensor:
    """Beta of least |own - beta counterpart|^2 for each image, in [0, 1]: [B, 1, 1, 1]."""
    axes = tuple(range(1, own.ndim))
    shared = (own * counterpart).sum(axes, keepdim=True)
    return (shared / counterpart.square().sum(axes, keepdim=True).clamp(min=1e-12)).clamp(0, 1)


def _build(settings: CounterpartSettings, prepared: Mapping[str, Any]) -> CounterpartTarget:
    known: Counterparts = prepared["counterparts"]
    return CounterpartTarget(known.in_places)


CHOICE = Choice(
    "the noise, less what the source gets wrong about the counterpart",
    _build,
    tables={"counterparts": CounterpartSettings},
    stages=("counterparts",),
    passes=lambda settings: {"source forward": 2},
    asks_source=True,
)
