"""The source's own samples stay what they are: prior preservation without a single image of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from antcli.diffusion.examples import Examples
from antcli.methods.choice import Choice, Rule, Step
from antcli.settings import Count, settings


@settings
class SourceExamplesSettings:
    """Samples that the source draws of itself before training."""

    count: Count = 64
    steps: Count = 15
    """Of sampling one."""


@dataclass(frozen=True)
class SourcePenalty(Rule):
    """Mean of |eps_theta(x'_t, t) - eps_source(x'_t, t)|^2, x'_0 a sample of the source.

    t and the noise are the step's. It weighs as the loss does.
    """

    examples: Examples

    def __call__(self, step: Step) -> Tensor:
        """One number."""
        chosen = (step.chance[:, 0] * len(self.examples)).long()
        upright = torch.zeros_like(step.mirrored)
        x_0 = self.examples.take(chosen, upright).to(step.x_0)
        x_t = step.path.add_noise(x_0, step.drawn, step.t)
        with step.autocast():
            eps = step.network(x_t, step.t).float()
        weight = step.path.weight(step.t, x_t, step.network.convention.prediction)
        return (weight * (eps - step.source(x_t, step.t)).square()).mean()


CHOICE = Choice(
    "what the network says of the source's own samples",
    lambda settings, prepared: SourcePenalty(prepared["source_examples"]),
    tables={"source_examples": SourceExamplesSettings},
    stages=("source_examples",),
    passes=lambda settings: {
        "denoiser forward": 1,
        "denoiser backward": 1,
        "source forward": 1,
    },
    asks_source=True,
)
