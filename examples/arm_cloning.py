"""Behaviour cloning with a frozen representation: Theorem A.2 of Cheng et al. (2025), in small.

    python examples/arm_cloning.py [--out examples/figures]

A two-joint arm sees a goal with a camera of 16 x 16 pixels, beside another thing of no interest,
and is shown how to reach it: y is the picture, x are the angles of both joints at eight moments.
Each goal can be reached with the elbow to either side, and the demonstrations take either, so
that their mean reaches nothing: that is why a policy is a diffusion model. Ten source arms with
1000 demonstrations each differ in the lengths of their parts; the target is an arm of other
lengths, with 10 to 100 demonstrations. The paper has the theorem and no
experiment; all of this is ours.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from conditional_figures import draw_arms
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

from antcli.randomness import generator

MOMENTS, PIXELS, SPOT, CONTRAST = 8, 16, 0.12, 5.0
"""Of a movement; the side of a picture; the width of a thing in it, in the units of lengths; its
brightness, with which the numbers of pictures have a standard deviation of about 1."""
REST = (math.pi / 2, 0.0)
"""The angles before a movement: the arm points up."""
NEAREST, FARTHEST = 0.35, 0.85
"""Of the goals from the shoulder; every arm reaches these."""
SHAKE = 0.02
"""Of a demonstration, in radians."""
SOURCES, PER_SOURCE, REPLICATES = 10, 1000, 8
SHOTS = (10, 30, 100)
TESTED, TRIES = 100, 4
"""Goals that are tried, and how often each."""
SHOWN = 30
"""The m of the figure."""
WIDTHS = Widths(x=2 * MOMENTS, y=PIXELS**2, code=4, head=(128, 128), encoder=(64, 64))
PRETRAINING = Training(steps=1200, rate=5e-3, batch=50)
TRANSFER = Training(steps=400, rate=5e-3, batch=100)


@dataclass(frozen=True)
class Arm:
    """The lengths of its two parts; together 1."""

    upper: float

    @property
    def lower(self) -> float:
        """From the elbow to the hand."""
        return 1 - self.upper

    def places(self, angles: Tensor) -> Tensor:
        """Elbow and hand, [..., 2, 2], of the angles [..., 2] of shoulder and elbow."""
        shoulder, elbow = angles.unbind(-1)
        first = _turned(shoulder) * self.upper
        return torch.stack([first, first + _turned(shoulder + elbow) * self.lower], dim=-2)

    def reaching(self, goals: Tensor, side: Tensor) -> Tensor:
        """Angles [N, 2] with the hand at the goals [N, 2]; the elbow turns as `side` [N] says."""
        far = goals.norm(dim=-1)
        cosine = (far**2 - self.upper**2 - self.lower**2) / (2 * self.upper * self.lower)
        elbow = side * cosine.clamp(-1, 1).acos()
        inwards = torch.atan2(self.lower * elbow.sin(), self.upper + self.lower * elbow.cos())
        return torch.stack([torch.atan2(goals[:, 1], goals[:, 0]) - inwards, elbow], dim=-1)

    def demonstrations(self, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Movements x [count, 16] and pictures y [count, 256]."""
        goals, pictures = scenes(count, draw)
        side = torch.randint(2, (count,), generator=draw) * 2.0 - 1
        end, rest = self.reaching(goals, side), torch.tensor(REST)
        along = smooth(torch.arange(1, MOMENTS + 1) / MOMENTS)[:, None]
        x = (along * (end - rest)[:, None]).flatten(1)
        return x + SHAKE * torch.randn(x.shape, generator=draw), pictures

    def movements(self, x: Tensor) -> Tensor:
        """Elbow and hand at each moment, [..., 8, 2, 2], of x [..., 16]."""
        return self.places(x.unflatten(-1, (MOMENTS, 2)) + torch.tensor(REST))


def _turned(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def smooth(share: Tensor) -> Tensor:
    """How far a movement of least jerk is at a share of its time (Flash and Hogan 1985)."""
    return share**3 * (10 - 15 * share + 6 * share**2)


def scenes(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Goals [count, 2] above the shoulder, and pictures [count, 256] of them.

    Bright is the goal, dark what is beside it, at any place.
    """
    far, angle = torch.rand(2, count, generator=draw)
    far = NEAREST + (FARTHEST - NEAREST) * far
    goals = _turned(math.pi * angle) * far[:, None]
    other = torch.rand(count, 2, generator=draw) * torch.tensor([2.0, 1.0]) - torch.tensor([1.0, 0])
    return goals, CONTRAST * (_spot(goals) - _spot(other))


def _spot(centres: Tensor) -> Tensor:
    """Pictures [N, 256] of a round spot of brightness 1; they show -1 to 1 and 0 to 1."""
    columns = torch.linspace(-1, 1, PIXELS)
    rows = torch.linspace(0, 1, PIXELS)
    x = (columns - centres[:, :1]).square()[:, None, :]
    y = (rows - centres[:, 1:]).square()[:, :, None]
    return (-(x + y) / (2 * SPOT**2)).exp().flatten(1)


SOURCE_ARMS = tuple(Arm(0.40 + 0.02 * k) for k in range(SOURCES))
TARGET = Arm(0.63)


def sources() -> tuple[Tensor, Tensor]:
    """Movements x [10, 1000, 16] and pictures y [10, 1000, 256]."""
    draws = (generator(k, "source") for k in range(SOURCES))
    pairs = zip(SOURCE_ARMS, draws, strict=True)
    return stacked(arm.demonstrations(PER_SOURCE, draw) for arm, draw in pairs)


def targets(count: int) -> tuple[Tensor, Tensor]:
    """For each replicate so many demonstrations."""
    draws = (generator(seed, "target") for seed in range(REPLICATES))
    return stacked(TARGET.demonstrations(count, draw) for draw in draws)


def misses(model: Model, goals: Tensor, pictures: Tensor, seeds: range) -> Tensor:
    """How far the target's hand ends from the goal, in the mean, of each model [R]."""
    x = draw(model, pictures.expand(len(seeds), -1, -1), TRIES, seeds)
    hand = TARGET.movements(x)[..., -1, 1, :]
    return (hand - goals[:, None]).norm(dim=-1).mean((1, 2))


def standing_still(goals: Tensor) -> float:
    """The same of the arm that stays where it may be nearest to all goals: their mean."""
    return float((goals - goals.mean(0)).norm(dim=-1).mean())


def main() -> None:
    """Print and draw all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIGURES)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    source = pretrain(WIDTHS, *sources(), PRETRAINING)
    goals, pictures = scenes(TESTED, generator(0, "tested"))
    seeds = range(REPLICATES)

    def of_model(model: Model) -> Tensor:
        return misses(model, goals, pictures, seeds)

    results = by_shots(source, WIDTHS, TRANSFER, SHOTS, targets, of_model)
    nearest = misses(source, goals, pictures, range(SOURCES))[-1]
    others = {
        "nearest source, as it is": float(nearest),
        "at the goals' mean": standing_still(goals),
    }
    report(results, others, "distance of the hand from the goal, of an arm of length 1")
    models = adapted(source, WIDTHS, *targets(SHOWN), TRANSFER, seeds)
    shown = pictures[:1].expand(REPLICATES, -1, -1)
    moved = {way: TARGET.movements(draw(m, shown, 8, seeds)[0, 0]) for way, m in models.items()}
    draw_arms(results, others, (goals[0], pictures[0]), moved, chosen.out / "arm_cloning.png")


if __name__ == "__main__":
    main()
