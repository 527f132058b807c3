"""Transfer with a frozen representation of the condition: the experiment of Cheng et al. (2025).

    python examples/conditional_transfer.py [--out examples/figures]

Section 5.1: x is the path of a particle in a double well, a stochastic differential equation with
drift beta u (1 - u^2) / (1 + u^2) in 50 steps of .02, and y = M x + noise. Ten source tasks have
beta 1 to 10 and 1000 samples each, and share an encoder h of y; the target has beta 5.5 or 15 and
10 to 100 samples. Measured is how far the mean of what a model draws is from the posterior's mean.
Learnt with h frozen, from scratch, and, what the paper lacks, with h fine-tuned as well.

The paper leaves open, or was not to be had: the drift (ours is that of Cui, Law and Marzouk, 2016,
from memory), M (here standard normal), rate, times and sampler. Its h is 512 wide; its source
trains a hundred times as long as ours, and its targets five hundred times.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from conditional_figures import draw_panels
from conditional_tasks import (
    Model,
    Results,
    Training,
    Widths,
    by_shots,
    draw,
    pretrain,
    report,
    stacked,
)
from torch import Tensor
from toy_figures import FIGURES

from antcli.randomness import generator

STEPS, STEP = 50, 0.02
MEASURED, DEVIATION = 100, 0.5
"""Numbers in y, and the noise of each."""
SOURCES, PER_SOURCE = tuple(range(1, 11)), 1000
REPLICATES = 20
TARGETS = {"5.5, among the sources'": 5.5, "15, beyond them": 15.0}
SHOTS = (10, 20, 50, 100)
SOURCE, NAME = "nearest source, as it is", "conditional_transfer.png"
PUBLISHED = {
    5.5: {10: (14.47, 21.99), 20: (3.68, 10.61), 50: (1.90, 1.77), 100: (0.91, 1.04)},
    15.0: {10: (6.14, 24.41), 20: (2.65, 20.62), 50: (0.96, 7.03), 100: (0.45, 1.23)},
}
"""By beta and m, h frozen and from scratch, as the paper prints them."""
TESTED, DRAWN, SAMPLING_STEPS = 100, 8, 20
"""Conditions that are tried, samples for each of them, steps of each."""
WIDTHS = Widths(x=STEPS, y=MEASURED, code=10, head=(128, 128), encoder=(64, 64, 64, 64))
PRETRAINING = Training(steps=4000, rate=2e-3, batch=50)
TRANSFER = Training(steps=400, rate=2e-3, batch=100)


# --- the inverse problem --------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """M, which all tasks share, [100, 50] in float64."""

    m: Tensor

    def paths(self, beta: float, count: int, draw: torch.Generator) -> Tensor:
        """[count, 50] by Euler and Maruyama, from 0, which is left out."""
        u = torch.zeros(count, dtype=torch.float64)
        steps = []
        for _ in range(STEPS):
            noise = torch.randn(count, generator=draw, dtype=torch.float64)
            u = u + STEP * drift(u, beta) + math.sqrt(STEP) * noise
            steps.append(u)
        return torch.stack(steps, dim=1)

    def measured(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Conditions y [..., 100] of x [..., 50]."""
        shape = (*x.shape[:-1], MEASURED)
        return x @ self.m.T + DEVIATION * torch.randn(shape, generator=draw, dtype=torch.float64)

    def log_density(self, x: Tensor, y: Tensor, beta: float) -> Tensor:
        """Of p(x | y), up to a constant, [N]."""
        before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
        jumps = (x - before - STEP * drift(before, beta)).square().sum(1) / STEP
        return -(jumps + (y - x @ self.m.T).square().sum(1) / DEVIATION**2) / 2

    def without_drift(self) -> Tensor:
        """The posterior's covariance [50, 50] where beta is 0 and all is Gaussian."""
        difference = torch.eye(STEPS, dtype=torch.float64).diff(
            dim=0, prepend=torch.zeros(1, STEPS)
        )
        return (difference.T @ difference / STEP + self.m.T @ self.m / DEVIATION**2).inverse()

    def posterior_mean(
        self, y: Tensor, beta: float, draw: torch.Generator, steps: int = 500, size: float = 0.5
    ) -> Tensor:
        """Of each y [N, 100], [N, 50], by a Langevin chain that is corrected (MALA).

        Its steps are scaled by the covariance that there would be without drift.
        """
        covariance = self.without_drift()
        factor = torch.linalg.cholesky(covariance)
        x = y @ self.m @ covariance / DEVIATION**2
        total, kept = torch.zeros_like(x), 0
        density, ahead = self._ahead(x, y, beta, covariance, size)
        for step in range(steps):
            noise = torch.randn(x.shape, generator=draw, dtype=torch.float64)
            other = ahead + math.sqrt(size) * noise @ factor.T
            there, back = self._ahead(other, y, beta, covariance, size)
            backwards = torch.linalg.solve_triangular(factor, (x - back).T, upper=False).T
            forth, back_again = noise.square().sum(1) / 2, backwards.square().sum(1) / (2 * size)
            chance = (there - density + forth - back_again).exp()
            taken = torch.rand(len(x), generator=draw, dtype=torch.float64) < chance
            x, ahead = (
                torch.where(taken[:, None], new, old) for new, old in ((other, x), (back, ahead))
            )
            density = torch.where(taken, there, density)
            if step >= steps // 10:
                total, kept = total + x, kept + 1
        return total / kept

    def _ahead(
        self, x: Tensor, y: Tensor, beta: float, covariance: Tensor, size: float
    ) -> tuple[Tensor, Tensor]:
        """The log density at x, and where a step without noise leads to."""
        x = x.clone().requires_grad_()
        density = self.log_density(x, y, beta)
        [gradient] = torch.autograd.grad(density.sum(), x)
        return density.detach(), x.detach() + size / 2 * gradient @ covariance


def drift(u: Tensor, beta: float) -> Tensor:
    """Towards -1 and 1."""
    return beta * u * (1 - u.square()) / (1 + u.square())


def world(seed: int = 0) -> World:
    """M is drawn once."""
    draw = generator(seed, "M")
    return World(torch.randn(MEASURED, STEPS, generator=draw, dtype=torch.float64))


# --- the tasks ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """M, and the unit of y: its standard deviation over the sources."""

    world: World
    unit: float

    def samples(self, beta: float, count: int, seed: int, stream: str) -> tuple[Tensor, Tensor]:
        """Paths x [count, 50] and y [count, 100], in its unit."""
        draw = generator(seed, f"{stream}/{beta:g}")
        x = self.world.paths(beta, count, draw)
        return x.float(), (self.world.measured(x, draw) / self.unit).float()

    def sources(self) -> tuple[Tensor, Tensor]:
        """[10, 1000, 50] and [10, 1000, 100]."""
        return stacked(self.samples(beta, PER_SOURCE, 0, "source") for beta in SOURCES)

    def targets(self, beta: float, count: int) -> tuple[Tensor, Tensor]:
        """For each replicate so many samples: [20, count, 50] and [20, count, 100]."""
        seeds = range(REPLICATES)
        return stacked(self.samples(beta, count, seed, "target") for seed in seeds)

    def tested(self, beta: float) -> tuple[Tensor, Tensor]:
        """Conditions [100, 100], and the means of their posteriors [100, 50]."""
        _, y = self.samples(beta, TESTED, 0, "tested")
        chain = generator(0, f"chain/{beta:g}")
        return y, self.world.posterior_mean(y.double() * self.unit, beta, chain).float()


def problem(seed: int = 0) -> Problem:
    """The one of the example."""
    here = Problem(world(seed), 1.0)
    return Problem(here.world, float(here.sources()[1].std()))


def errors(model: Model, y: Tensor, mean: Tensor, seeds: range) -> Tensor:
    """|mean of the samples - mean of the posterior|^2 over conditions [N, 100], of each model [R].

    It is what infinitely many samples would come to: their variance, divided by how many there
    are, is taken off.
    """
    x = draw(model, y.expand(len(seeds), -1, -1), DRAWN, seeds, SAMPLING_STEPS)
    apart = (x.mean(2) - mean).square() - x.var(2) / DRAWN
    return apart.sum(2).mean(1)


def measure(here: Problem, source: Model, beta: float) -> tuple[Results, dict[str, float]]:
    """Errors of the three ways by m; and of the sources themselves, which need no target sample."""
    y, mean = here.tested(beta)
    found = by_shots(
        source,
        WIDTHS,
        TRANSFER,
        SHOTS,
        lambda count: here.targets(beta, count),
        lambda model: errors(model, y, mean, range(REPLICATES)),
    )
    nearest = torch.tensor([abs(k - beta) for k in SOURCES]).argmin()
    of_sources = errors(source, y, mean, range(len(SOURCES)))
    return found, {SOURCE: float(of_sources[nearest])}


def report_published(beta: float) -> None:
    """The paper's rows."""
    print(
        "  the paper's (frozen, from scratch): "
        + "  ".join(
            f"m {count} {frozen} {scratch}" for count, (frozen, scratch) in PUBLISHED[beta].items()
        )
    )


def main() -> None:
    """Print and draw both targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIGURES)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    here = problem()
    source = pretrain(WIDTHS, *here.sources(), PRETRAINING)
    panels = {}
    for name, beta in TARGETS.items():
        panels[f"beta {name}"] = found = measure(here, source, beta)
        report(*found, f"beta {name}: squared distance from the posterior's mean")
        report_published(beta)
    draw_panels(panels, "squared distance from the posterior's mean", chosen.out / NAME)


if __name__ == "__main__":
    main()
