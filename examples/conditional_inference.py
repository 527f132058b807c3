"""Amortised inference with a frozen representation: Theorem A.1 of Cheng et al. (2025), in small.

    python examples/conditional_inference.py [--out examples/figures]

x are two numbers, and y is 64 numbers A x + B z + noise, in which eight of no interest, z, show as
well. Of y two numbers matter, A^T S^-1 y with S = B B^T + the noise's covariance, whatever the
prior of x. Ten source tasks have a Gaussian prior each, the target an eleventh: every posterior is
known. The paper has the theorem and no experiment; all of this is ours.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from conditional_figures import draw_posteriors
from conditional_tasks import (
    Model,
    Training,
    Widths,
    adapted,
    by_shots,
    draw,
    pretrain,
    report,
    stacked,
)
from torch import Tensor
from toy_figures import FIGURES

from antcli.evaluation.frechet import Gaussian, frechet_distance
from antcli.randomness import generator

UNKNOWN, NUISANCES, MEASURED, DEVIATION = 2, 8, 64, 0.5
SOURCES, PER_SOURCE, REPLICATES = 10, 1000, 8
SHOTS = (10, 20, 50, 100)
TESTED, DRAWN = 20, 64
"""Conditions that are tried, and samples for each of them."""
SHOWN, POINTS = 20, 100
"""The m of the figure, and samples of each posterior in it."""
WIDTHS = Widths(x=UNKNOWN, y=MEASURED, code=UNKNOWN, head=(64, 64), encoder=(64, 64))
PRETRAINING = Training(steps=1000, rate=5e-3, batch=50)
TRANSFER = Training(steps=250, rate=5e-3, batch=100)


@dataclass(frozen=True)
class World:
    """What all tasks share, in float64."""

    a: Tensor
    """[64, 2]."""
    b: Tensor
    """[64, 8]."""

    @property
    def spread(self) -> Tensor:
        """S [64, 64]: the covariance of y of which x is known."""
        return self.b @ self.b.T + DEVIATION**2 * torch.eye(MEASURED, dtype=torch.float64)

    def samples(self, prior: Gaussian, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pairs x [count, 2] and y [count, 64], in float32."""

        def normal(size: int) -> Tensor:
            return torch.randn(count, size, generator=draw, dtype=torch.float64)

        x = prior.mean + normal(UNKNOWN) @ torch.linalg.cholesky(prior.covariance).T
        y = x @ self.a.T + normal(NUISANCES) @ self.b.T + DEVIATION * normal(MEASURED)
        return x.float(), y.float()

    def posterior(self, prior: Gaussian, y: Tensor) -> Gaussian:
        """Of x by one y [64]."""
        gain = torch.linalg.solve(self.spread, self.a).T
        precision = prior.covariance.inverse()
        covariance = (precision + gain @ self.a).inverse()
        return Gaussian(covariance @ (precision @ prior.mean + gain @ y.double()), covariance)


def world(seed: int = 0) -> World:
    """A of little weight, B of more."""
    draw = generator(seed, "world")
    a, b = torch.randn(MEASURED, UNKNOWN + NUISANCES, generator=draw, dtype=torch.float64).split(
        [UNKNOWN, NUISANCES], dim=1
    )
    return World(a / 8, b / 4)  # with which y has a standard deviation of about 1


def prior(task: int, seed: int = 0) -> Gaussian:
    """Of one task; the target is the one after the sources."""
    draw = generator(seed, "prior", task)
    mean = torch.randn(UNKNOWN, generator=draw, dtype=torch.float64)
    skew = torch.randn(UNKNOWN, UNKNOWN, generator=draw, dtype=torch.float64)
    return Gaussian(mean, skew @ skew.T / 2 + torch.eye(UNKNOWN, dtype=torch.float64) / 4)


TARGET = SOURCES


def targets(here: World, count: int) -> tuple[Tensor, Tensor]:
    """For each replicate so many samples, x [8, count, 2] and y [8, count, 64]."""
    draws = (generator(seed, "target") for seed in range(REPLICATES))
    return stacked(here.samples(prior(TARGET), count, draw) for draw in draws)


def tested(here: World) -> Tensor:
    """Conditions of the target [20, 64]."""
    return here.samples(prior(TARGET), TESTED, generator(0, "tested"))[1]


def drawn(model: Model, y: Tensor, count: int, seeds: range) -> Tensor:
    """Samples [R, N, count, 2] of each model for each of the conditions [N, 64]."""
    return draw(model, y.expand(len(seeds), -1, -1), count, seeds)


def errors(here: World, x: Tensor, y: Tensor) -> Tensor:
    """W2^2 between Gaussians fitted to samples [R, N, count, 2] and the posteriors; [R]."""
    truths = [here.posterior(prior(TARGET), one) for one in y]
    rows = [
        [frechet_distance(Gaussian.fit(s), truth) for s, truth in zip(of, truths, strict=True)]
        for of in x
    ]
    return torch.tensor(rows).mean(1)


def apart(here: World, y: Tensor) -> Tensor:
    """Three of the conditions [3, 64]: where x is lowest, in the middle and highest."""
    means = [float(here.posterior(prior(TARGET), one).mean[0]) for one in y]
    order = torch.tensor(means).argsort()
    return y[order[[0, len(y) // 2, -1]]]


def without_condition(here: World, y: Tensor) -> float:
    """The same of the prior in the place of every posterior."""
    own = prior(TARGET)
    apart = [frechet_distance(own, here.posterior(own, one)) for one in y]
    return sum(apart) / len(apart)


def perfect(here: World, y: Tensor) -> float:
    """The same of samples of the posteriors themselves, as many: what is the fit's own."""
    draw, samples = generator(0, "perfect"), []
    for one in y:
        truth = here.posterior(prior(TARGET), one)
        noise = torch.randn(DRAWN, UNKNOWN, generator=draw, dtype=torch.float64)
        samples.append(truth.mean + noise @ torch.linalg.cholesky(truth.covariance).T)
    return float(errors(here, torch.stack(samples)[None], y))


def main() -> None:
    """Print and draw all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIGURES)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    here = world()
    draws = (generator(task, "source") for task in range(SOURCES))
    pairs = (here.samples(prior(task), PER_SOURCE, draw) for task, draw in enumerate(draws))
    source = pretrain(WIDTHS, *stacked(pairs), PRETRAINING)
    y, seeds = tested(here), range(REPLICATES)

    def of_model(model: Model) -> Tensor:
        return errors(here, drawn(model, y, DRAWN, seeds), y)

    results = by_shots(source, WIDTHS, TRANSFER, SHOTS, lambda m: targets(here, m), of_model)
    others = {
        "the prior": without_condition(here, y),
        "posterior's own samples": perfect(here, y),
    }
    report(results, others, "W2^2 to the posterior")
    models = adapted(source, WIDTHS, *targets(here, SHOWN), TRANSFER, seeds)
    shown = apart(here, y)
    samples = {way: drawn(m, shown, POINTS, seeds)[0] for way, m in models.items()}
    truths = [here.posterior(prior(TARGET), one) for one in shown]
    draw_posteriors(results, others, samples, truths, chosen.out / "conditional_inference.png")


if __name__ == "__main__":
    main()
