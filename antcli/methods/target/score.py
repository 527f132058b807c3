"""The noise, guided away from the source by the difference of two scores: no classifier.

DogFit (Bahram et al., AAAI 2026, arXiv 2508.05685): where ANT's Eq. 8 has the gradient of a
classifier, here is eps of the averaged network less that of the source.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from antcli.methods.choice import Choice, Rule, Step
from antcli.settings import Natural, Share, settings


@settings
class ScoreSettings:
    """Guidance by a difference of scores."""

    strength: Annotated[float, Ge(1)] = 1.5
    """w; 1: none."""
    below: Share = 1.0
    """It acts below this share of the path of noise; the paper's is 1, or 0.5 for its best FID."""
    start: Natural = 25
    """Steps of plain training before it sets in: at first the two scores are the same. The paper's
    is half of its 24,000."""


class ScoreTarget(Rule):
    """eps + (w - 1) (eps_averaged(x_t, t) - eps_source(x_t, t)), the bracket held constant."""

    def __init__(self, config: ScoreSettings) -> None:
        self.config = config

    def __call__(self, step: Step) -> Tensor:
        """[B, C, H, W]."""
        if step.done < self.config.start:
            return step.eps
        away = step.averaged(step.x_t, step.t) - step.source_output
        if self.config.below < 1:
            below = step.t < step.path.limit(self.config.below)
            away = away * below.to(away).view(-1, 1, 1, 1)
        return step.eps + (self.config.strength - 1) * away


CHOICE = Choice(
    "the noise, guided away from the source by the difference of two scores",
    lambda settings, prepared: ScoreTarget(settings),
    tables={"score": ScoreSettings},
    passes=lambda settings: {"denoiser forward": 1},
    asks_source=True,
    compares=True,
)
