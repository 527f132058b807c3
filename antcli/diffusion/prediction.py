"""What a network predicts, and the noise that follows from it.

The program's losses and samplers are written in eps. A network that predicts x_0 or v says the
same in other words: with x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, each of the three
and x_t give the other two exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from antcli.diffusion.schedule import Schedule

Prediction = Literal["epsilon", "v_prediction", "sample"]
"""diffusers' names: eps, v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0, and x_0."""


def to_eps(
    output: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule, prediction: Prediction
) -> Tensor:
    """eps, [B, C, H, W], from a network's output at x_t and t (Salimans and Ho 2022, App. D)."""
    if prediction == "epsilon":
        return output
    alpha_bar = schedule.at(schedule.alpha_bar, t, x_t)
    if prediction == "v_prediction":
        return alpha_bar.sqrt() * output + (1 - alpha_bar).sqrt() * x_t
    return (x_t - alpha_bar.sqrt() * output) / (1 - alpha_bar).sqrt()


@dataclass(frozen=True)
class Convention:
    """How a network is to be asked, and how its answer is read as eps."""

    schedule: Schedule
    prediction: Prediction = "epsilon"
    condition: Mapping[str, Tensor] = field(default_factory=dict)
    """What it wants beside x_t and t, by the names of its `forward`; each [1, ...]."""

    def inputs(self, x_t: Tensor) -> dict[str, Tensor]:
        """The condition for each image of a batch."""
        return {
            name: value.to(x_t.device).expand(len(x_t), *value.shape[1:])
            for name, value in self.condition.items()
        }

    def eps(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise [B, C, H, W]; of the 2 C channels of a learned variance, the first C count."""
        return to_eps(output[:, : x_t.shape[1]], x_t, t, self.schedule, self.prediction)


PLAIN = Convention(Schedule.linear())
"""Of a DDPM as it was published: unconditional, predicting eps, betas from 1e-4 to 0.02."""
