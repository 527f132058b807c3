"""Distribution matching without a critic (DMD, Yin et al. 2024, arXiv 2311.18828).

Beside the windows, whose lines keep each image where its noise is, the student's answers are moved
to where its teacher's are denser and its own are not: down the difference of two scores. The score
of its own answers is a second set of weights over the adapted network, which learns from them as
they change. An answer is where its line ends; of all windows but the last it is noise in part, and
is looked at with more of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.config import TrainingConfig
from antcli.diffusion.path import Path
from antcli.distilling.windows import WindowObjective
from antcli.methods.build import Objective
from antcli.methods.choice import Predict, Step
from antcli.methods.trainable.denoiser import Denoiser
from antcli.training.part import Part

LEAST_APART = 1e-3
"""Of an image from what its teacher makes of it, in the mean: nothing is divided by less."""


def noise_of(path: Path, t: Tensor, like: Tensor) -> Tensor:
    """Sigma / alpha."""
    alpha, sigma = path.alpha_sigma(t, like)
    return sigma / alpha


@dataclass(frozen=True)
class LookedAt(Step):
    """A student's step, and how its answer is to be looked at."""

    end: Tensor | None = None
    """[B], the t at which its line ends."""
    tau: Tensor | None = None
    """[B], the t, above it, at which the answer is looked at."""
    more: Tensor | None = None
    """[B, C, H, W], the noise that it gets for it."""

    @classmethod
    def of(cls, step: Step, end: Tensor, tau: Tensor, more: Tensor) -> LookedAt:
        """The same step."""
        kept = {part.name: getattr(step, part.name) for part in fields(Step)}
        return cls(**kept, end=end, tau=tau, more=more)

    def of_same(self, guided: Callable[..., Tensor]) -> Predict:
        """`guided` of another network, asked for the conditions of this step, where it has such."""
        return guided if self.condition is None else partial(guided, condition=self.condition)

    @property
    def meant(self) -> Tensor:
        """The x_0 that the student means, with its graph."""
        return self.path.to_x_0(self.output, self.x_t, self.t)

    @property
    def answer(self) -> Tensor:
        """Where its line ends, over alpha: x_0 + n eps, with its graph."""
        return self.meant + noise_of(self.path, self._end, self.x_t) * self.output

    @property
    def looked(self) -> tuple[Tensor, Tensor, Tensor]:
        """The answer at tau, without a graph; tau; and the share of its noise that is new, in
        variance.
        """
        assert self.tau is not None
        assert self.more is not None
        n, n_end = (noise_of(self.path, t, self.x_t) for t in (self.tau, self._end))
        new = (n.square() - n_end.square()).clamp(min=0)
        alpha, _ = self.path.alpha_sigma(self.tau, self.x_t)
        return alpha * (self.answer.detach() + new.sqrt() * self.more), self.tau, new / n.square()

    @property
    def _end(self) -> Tensor:
        assert self.end is not None
        return self.end


@dataclass(frozen=True)
class MatchingObjective(WindowObjective):
    """The windows, and `weight` times the way from the student's distribution to its teacher's."""

    teacher: Predict | None = None
    score: Predict | None = None
    weight: float = 0.0
    rising: int = 1
    """Steps in which the weight rises from nothing: the score has to become the student's."""

    def prepared(self, step: Step) -> tuple[Step, Tensor]:
        """The step itself: the score of the student's answers learns from the same ones."""
        return step, step.eps

    def loss(self, step: Step, target: Tensor) -> Tensor:
        """The mean over the images; of the matching nothing but its gradient means anything."""
        assert isinstance(step, LookedAt)
        assert self.teacher is not None
        assert self.score is not None
        regression = super().loss(step, target)  # asks for the answer, with its graph
        with step.autocast():
            away = direction(step, step.of_same(self.teacher), step.of_same(self.score))
        weight = self.weight * min(1.0, step.done / self.rising)
        return regression + weight * (away * step.answer).mean()


@torch.no_grad()
def direction(step: LookedAt, teacher: Predict, score: Predict) -> Tensor:
    """Up which the student's answers are denser and its teacher's less so (DMD, Eq. 7 and 8).

    The x_0 of the student's score minus the teacher's, over the mean distance to the latter.
    """
    x_tau, tau, _ = step.looked
    own, real = (step.path.to_x_0(eps(x_tau, tau).float(), x_tau, tau) for eps in (score, teacher))
    apart = (step.meant - real).abs().flatten(1).mean(1).clamp(min=LEAST_APART)
    return (own - real) / apart.view(-1, 1, 1, 1)


@dataclass(frozen=True)
class ScoreObjective(Objective):
    """The score of the student's answers, by what it gives in the place of eps.

    For an answer that is noise in part, eps is the new noise over the root of the new share of the
    variance, in the mean; the loss is weighted by that share.
    """

    predict: Predict | None = None
    """The network that learns it, in the pass whose gradients the processes exchange."""
    network: Denoiser | None = None
    """The same, which is told of the conditions of a step."""

    def prepared(self, step: Step) -> tuple[Step, Tensor]:
        """The step itself, whose answer is there already, and its new noise."""
        assert isinstance(step, LookedAt)
        assert step.more is not None
        return step, step.more

    def loss(self, step: Step, target: Tensor) -> Tensor:
        """The mean over the images."""
        assert isinstance(step, LookedAt)
        assert self.predict is not None
        x_tau, tau, new = step.looked
        network = self.network
        with nullcontext() if network is None else network.told(condition=step.condition):
            return (new.sqrt() * self.predict(x_tau, tau).float() - target).square().mean()


def own_score(network: Denoiser, config: TrainingConfig, accelerator: Accelerator) -> Part:
    """What learns the score of the student's answers."""
    part = Part(network, Objective(), config, accelerator)
    part.objective = ScoreObjective(predict=part.wrapped, network=network)
    return part
