"""What the noise before a student's critic did over its training, as a small SVG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antcli.evaluation.curve import as_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCHES = (4.4, 3.6)
T_COLOUR, SURE_COLOUR = "#0072B2", "#D55E00"


def read_critic_noise(log: Path) -> list[dict[str, Any]]:
    """The steps of a training with a critic, as they were logged; none of any other training."""
    if not log.exists():
        return []
    steps = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [step for step in steps if "r_d" in step]


def critic_noise_svg(steps: Sequence[dict[str, Any]]) -> str:
    """SVG text: T over the steps, and below it r_d, how sure the critic is of the real images."""
    return as_svg(lambda: critic_noise(steps), "Noise before the critic, over the steps")


def critic_noise(steps: Sequence[dict[str, Any]]) -> Figure:
    """The picture as a figure of matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(INCHES, layout="constrained")
    top, below = figure.subplots(2, sharex=True)
    top.set_title("T: most noise before the critic", loc="left", fontsize=10, fontweight="bold")
    top.plot([s["step"] for s in steps], [s["T"] for s in steps], color=T_COLOUR, linewidth=2)
    top.set_ylim(bottom=0)
    sure = [(s["step"], s["r_d"]) for s in steps if s["r_d"] is not None]
    title = "r_d: 1 where it knows every real image"
    below.set_title(title, loc="left", fontsize=10, fontweight="bold")
    below.plot([at for at, _ in sure], [r_d for _, r_d in sure], color=SURE_COLOUR, linewidth=2)
    below.set_ylim(-1.05, 1.05)
    below.set_xlabel("training steps")
    for axes in (top, below):
        axes.grid(axis="y", color="#c8c8c8", linewidth=0.7)
        axes.spines["right"].set_visible(False)
    return figure
