"""The noise, less what the source gets wrong about the counterpart: people are not learnt.

Of ten images a network learns two things: what their domain is, and whom they show. What the source
gets wrong about the counterpart x'_0, eps - eps_source(x'_t) with the same noise, holds the second
and not the first. It is taken off the target as a control variate: all of it where the counterpart
shows the same person; where little of an image was kept, as much as its own error shares with the
counterpart's, by least squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from antcli.methods.choice import Choice, Rule, Step
from antcli.methods.classifier import ClassifierConfig
from antcli.methods.counterparts import Counterparts, CounterpartSettings
from antcli.methods.target.guided import GuidanceConfig, GuidedTarget


class CounterpartTarget(Rule):
    """eps - beta (eps_drawn - eps_source(x'_t, t)); with guidance, that of ANT as well."""

    def __init__(self, counterparts: Counterparts, guided: GuidedTarget | None = None) -> None:
        self.counterparts, self.guided = counterparts, guided
        self.module: nn.Module | None = guided.module if guided else None

    def __call__(self, step: Step) -> Tensor:
        """[B, C, H, W]."""
        wrong = source_error(step, self.counterparts.of(step))
        if self.counterparts.new_colours:
            wrong = coefficient(source_error(step, step.x_0), wrong) * wrong
        target = step.eps if self.guided is None else self.guided(step)
        return target - wrong


def source_error(step: Step, x_0: Tensor) -> Tensor:
    """What the source gets wrong about x_0 with the noise of a step: eps - eps_source(x_t, t)."""
    return step.drawn - step.source(step.path.add_noise(x_0, step.drawn, step.t), step.t)


def coefficient(own: Tensor, counterpart: Tensor) -> Tensor:
    """Beta of least |own - beta counterpart|^2 for each image, in [0, 1]: [B, 1, 1, 1]."""
    axes = tuple(range(1, own.ndim))
    shared = (own * counterpart).sum(axes, keepdim=True)
    return (shared / counterpart.square().sum(axes, keepdim=True).clamp(min=1e-12)).clamp(0, 1)


def _guided(settings: GuidanceConfig, prepared: Mapping[str, Any]) -> CounterpartTarget:
    counterparts, classifier = prepared["counterparts"], prepared["classifier"]
    # Where colours are new there is none: it would speak for the ten images' own.
    guided = None if classifier is None else GuidedTarget(settings, classifier)
    return CounterpartTarget(counterparts, guided)


CHOICE = Choice(
    "the noise, less what the source gets wrong about the counterpart",
    lambda settings, prepared: CounterpartTarget(prepared["counterparts"]),
    tables={"counterparts": CounterpartSettings},
    stages=("counterparts",),
    passes=lambda settings: {"source forward": 1},
    asks_source=True,
)
GUIDED = Choice(
    "the noise, less what the source gets wrong about the counterpart, guided by the pairs",
    _guided,
    tables={
        "guidance": GuidanceConfig,
        "counterparts": CounterpartSettings,
        "classifier": ClassifierConfig,
    },
    stages=("counterparts", "classifier"),
    passes=lambda settings: {
        "source forward": 1,
        "classifier forward": 1,
        "classifier backward": 1,
    },
    asks_source=True,
)
