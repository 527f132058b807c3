"""Figures of the three examples after Cheng et al. (2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from conditional_tasks import FROZEN, SCRATCH, TUNED, Results
from matplotlib.axes import Axes
from torch import Tensor
from toy_figures import plt, save

from antcli.evaluation.frechet import Gaussian

COLOURS = {FROZEN: "tab:blue", TUNED: "tab:orange", SCRATCH: "tab:red"}


def draw_panels(
    panels: Mapping[str, tuple[Results, Mapping[str, float]]], measured: str, path: Path
) -> None:
    """By m, a panel for each target."""
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.6), squeeze=False)
    for ax, (name, found) in zip(axes[0], panels.items(), strict=True):
        draw_shots(ax, *found, measured)
        ax.set_title(name)
    save(figure, path)


def draw_shots(ax: Axes, results: Results, others: Mapping[str, float], measured: str) -> None:
    """A line with intervals for each way; a level one for what needs no target sample."""
    for way, colour in COLOURS.items():
        of = {count: row[way] for count, row in results.items()}
        ax.errorbar(
            list(of), [e.mean for e in of.values()], [e.half for e in of.values()],
            color=colour, marker="o", ms=3, capsize=2, lw=1, label=way,
        )  # fmt: skip
    for (name, value), style in zip(others.items(), ("--", ":"), strict=False):
        ax.axhline(value, color="grey", ls=style, lw=1, label=name)
    ax.set(xscale="log", xlabel="target samples", ylabel=measured)
    ax.set_xticks(list(results), [str(count) for count in results])
    ax.minorticks_off()
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)


def draw_posteriors(
    results: Results,
    others: Mapping[str, float],
    samples: Mapping[str, Tensor],
    truths: Sequence[Gaussian],
    path: Path,
) -> None:
    """Errors by m; then, for each way, samples [N, count, 2] over the posteriors they should have.

    An ellipse holds 95 % of a posterior.
    """
    figure, axes = plt.subplots(1, 1 + len(samples), figsize=(14, 3.6))
    draw_shots(axes[0], results, others, "W2² to the posterior")
    for ax in axes[2:]:
        ax.sharex(axes[1])
        ax.sharey(axes[1])
    for ax, (way, of) in zip(axes[1:], samples.items(), strict=True):
        for i, (points, truth) in enumerate(zip(of, truths, strict=True)):
            ax.scatter(*points.T, s=3, color=f"C{i}", alpha=0.4)
            ax.plot(*ellipse(truth).T, color=f"C{i}", lw=1.5)
        ax.set(title=way, aspect="equal")
    save(figure, path)


def ellipse(of: Gaussian, share: float = 0.95) -> Tensor:
    """The curve [100, 2] that holds this share of a Gaussian of two numbers."""
    angle = torch.linspace(0, 2 * math.pi, 100, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    reach = math.sqrt(-2 * math.log(1 - share))
    return of.mean + reach * circle @ torch.linalg.cholesky(of.covariance).T


def draw_arms(
    results: Results,
    others: Mapping[str, float],
    scene: tuple[Tensor, Tensor],
    moved: Mapping[str, Tensor],
    path: Path,
) -> None:
    """Errors by m; what the camera sees; then, for each way, movements [N, T, 2, 2] to the goal."""
    goal, picture = scene
    figure, axes = plt.subplots(
        1, 2 + len(moved), figsize=(15, 3.4), width_ratios=[1.5, 1, 1, 1, 1]
    )
    draw_shots(axes[0], results, others, "from hand to goal")
    side = math.isqrt(len(picture))
    axes[1].imshow(picture.view(side, side), origin="lower", extent=(-1, 1, 0, 1), cmap="gray")
    axes[1].set_title("what the camera sees")
    for ax, (way, movements) in zip(axes[2:], moved.items(), strict=True):
        for movement in movements:
            elbow, hand = movement[-1]
            ax.plot([0, elbow[0], hand[0]], [0, elbow[1], hand[1]], color=COLOURS[way], lw=1)
            ax.plot(*movement[:, 1].T, ":", color="grey", lw=0.8)
        ax.plot(*goal, "x", color="black", ms=8)
        ax.set(title=way, aspect="equal", xlim=(-1.05, 1.05), ylim=(-0.6, 1.05))
    save(figure, path)
