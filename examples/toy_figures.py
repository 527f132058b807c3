"""How the toys look: figures of `toy_gaussian.py`, `latent_gaussian.py` and
`diffusion_gan_25_gaussians.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from torch import Tensor

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

FIGURES = Path(__file__).parent / "figures"
COLOURS = ("tab:blue", "tab:red", "tab:orange")
"""Of the ten-shot gradient, the guided one and ANT's, as in the paper."""
REFERENCE = "tab:cyan"
DOTS, RANGE = 1000, (-4.5, 4.5)
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9})


def draw_gradients(
    drawn: Mapping[str, Any], found: Mapping[str, Tensor], settings: Sequence[str], path: Path
) -> None:
    """Arrows of one seed over its worst-case noise, by classifier; angles of all seeds."""
    figure, axes = plt.subplots(1, len(drawn) + 1, figsize=(11, 3.8), width_ratios=[1, 1, 1.3])
    for ax, (name, (reference, of)) in zip(axes, drawn.items(), strict=False):
        noise = of["ANT"].noise.transpose(0, 1).flatten(1)
        ax.scatter(*noise[:, :: max(1, noise.shape[1] // DOTS)], s=2, color="tab:red", alpha=0.15)
        arrows = [("10,000 samples", REFERENCE, reference)]
        arrows += [(s, c, of[s]) for s, c in zip(settings, COLOURS, strict=True)]
        for label, colour, gradient in arrows:
            end = 3.2 * gradient.direction / gradient.direction.norm()
            ax.plot([0, end[0]], [0, end[1]], color=colour, label=label, lw=1.8)
        ax.set(title=f"classifier {name}", aspect="equal", xlim=(-3.6, 3.6), ylim=(-3.6, 3.6))
    axes[0].legend(frameon=False, loc="upper left", fontsize=8)
    _strips(axes[-1], found, settings)
    save(figure, path)


def _strips(ax: Axes, found: Mapping[str, Tensor], settings: Sequence[str]) -> None:
    """A dot for each seed, a line joining those of one, a bar at the mean."""
    for i, (name, rows) in enumerate(found.items()):
        places = [i * (len(settings) + 1) + j for j in range(len(settings))]
        ax.plot(places, rows.T, color="0.85", lw=0.6, zorder=1)
        for place, column, colour in zip(places, rows.T, COLOURS, strict=True):
            ax.scatter([place] * len(column), column, s=6, color=colour, zorder=2)
            ax.hlines(column.mean(), place - 0.3, place + 0.3, color="black", zorder=3)
        ax.text(places[1], ax.get_ylim()[1], name, ha="center", va="bottom", fontsize=8)
    count = len(settings) + 1
    ticks = [i * count + j for i in range(len(found)) for j in range(len(settings))]
    ax.set_xticks(ticks, list(settings) * len(found), rotation=35, ha="right", fontsize=8)
    ax.set_ylabel("degrees from the reference")
    ax.set_ylim(bottom=0)


def draw_paths(
    drawn: Mapping[str, Any], found: Mapping[str, Any], truth: Tensor, path: Path
) -> None:
    """Heat maps of the sampling paths, the target's mean over them; and the way there."""
    figure, axes = plt.subplots(1, len(drawn) + 1, figsize=(13, 3.4), width_ratios=[1, 1, 1, 1.1])
    for ax, (name, samples) in zip(axes, drawn.items(), strict=False):
        columns = [np.histogram(row, bins=90, range=RANGE)[0] for row in samples.path.numpy()]
        ax.imshow(
            np.stack(columns, axis=1), origin="lower", aspect="auto",
            extent=(0, len(columns) - 1, *RANGE),
        )  # fmt: skip
        ax.plot(truth.flatten(), color="white", lw=1, ls="--", label="mean of the target")
        ax.set(title=f"{name}, {samples.step} iterations", xlabel="diffusion step", ylim=(-4, 3))
    axes[0].set_ylabel("first coordinate")
    axes[0].legend(frameon=False, labelcolor="white", loc="upper left", fontsize=8)
    for (name, rows), colour in zip(found.items(), COLOURS, strict=True):
        style = "--" if name == "ANT" else "-"
        steps, distances = zip(*((s.step, s.distance) for s in rows), strict=True)
        axes[-1].plot(steps, distances, style, color=colour, label=name)
    axes[-1].set(xlabel="iterations", ylabel="distance of the means", ylim=(0, None))
    axes[-1].legend(frameon=False)
    save(figure, path)


def draw_latent(times: Sequence[Any], counts: Mapping[float, Any], path: Path) -> None:
    """Errors by t, of the two formulas and of descent; then by n_ta, for each t that is given."""
    figure, axes = plt.subplots(1, 1 + len(counts), figsize=(12, 3.8))
    at = [row.t for row in times]
    for label, style in (("corrected", "-"), ("printed", ":"), ("descended", "x")):
        name = {"corrected": "closed form", "printed": "as printed", "descended": "descent"}[label]
        axes[0].plot(at, [getattr(row, label) for row in times], style, color="black", label=name)
    axes[0].set(xscale="log", yscale="log", xlabel="t", ylabel="|V Vᵀ - A Aᵀ|²")
    axes[0].set_title("5 directions of 64, 200 samples", fontsize=9)
    axes[0].legend(frameon=False)
    for ax, (t, of) in zip(axes[1:], counts.items(), strict=True):
        for i, (dimension, rows) in enumerate(of.items()):
            shots, colour = [row.count for row in rows], f"C{i}"
            ax.plot(shots, [row.closed for row in rows], color=colour, label=f"d = {dimension}")
            ax.plot(shots, [row.filled for row in rows], "--", color=colour)
            ax.axvline(dimension, color=colour, lw=0.5)
        ax.set(xscale="log", xlabel="target samples (thin lines: d)", title=f"t = {t:g}")
        ax.set_yscale("symlog", linthresh=1e-2)
        ax.set_ylim(bottom=0)
    axes[-1].plot([], [], "--", color="grey", label="filled from the source")
    axes[-1].legend(frameon=False, fontsize=8)
    save(figure, path)


def draw_modes(
    found: Mapping[str, Sequence[Any]], modes: Tensor, d_target: float, path: Path
) -> None:
    """A row of planes for each GAN, one for a seed; beside them r_d and T where there are such."""
    seeds = max(map(len, found.values()))
    figure, axes = plt.subplots(
        len(found), seeds + 1, figsize=(3 * seeds + 4, 6), width_ratios=[*[1] * seeds, 1.3]
    )
    for row, (name, of) in zip(axes, found.items(), strict=True):
        for ax, one in zip(row, of, strict=False):
            ax.scatter(*modes.T, s=90, facecolors="none", edgecolors="0.8")
            ax.scatter(*one.samples.T, s=1, color="tab:blue", alpha=0.4)
            ax.set(aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
            ax.set_title(f"{name}: {one.modes} modes, {one.near:.0%} near", fontsize=9)
    (verdict, top), moves = axes[:, -1], [one.history for of in found.values() for one in of]
    for seed, history in enumerate(filter(None, moves)):
        at = [move.minibatch for move in history]
        verdict.plot(at, _smoothed([move.r_d for move in history]), lw=0.8, label=f"seed {seed}")
        top.plot(at, [move.T for move in history], lw=1)
    verdict.axhline(d_target, color="black", lw=0.6, ls="--")
    verdict.set(ylabel="r_d, mean of 50 moves")
    verdict.legend(frameon=False, fontsize=8)
    top.set(xlabel="minibatches", ylabel="T", ylim=(0, None))
    save(figure, path)


def _smoothed(values: Sequence[float], width: int = 50) -> np.ndarray:
    """Means of so many around each, fewer at the ends."""
    ones = np.ones(min(width, len(values)))
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def save(figure: Any, path: Path) -> None:
    """Write a figure, the same file of the same numbers."""
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    print(path)
