"""The scores of a run's checkpoints over its steps, as a small SVG.

Three panels under each other share the steps. Narrow on purpose: a phone shows it without
making the letters too small, and a wider screen enlarges it without loss.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from antcli.artifacts import replacing
from antcli.evaluation.stopping import ChosenStep, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCHES = (4.4, 5.8)
STYLE = {"svg.hashsalt": "ant", "font.size": 10, "axes.spines.top": False}
"""The salt: equal curves are equal files."""


@dataclass(frozen=True)
class Panel:
    """One of the scores over the steps."""

    title: str
    value: Callable[[Score], float]
    least_top: float
    """The axis reaches from 0, or from the lowest value below it, to here or to the highest."""
    colour: str
    """Of M. Okabe and K. Ito's colours, which colour-blind people tell apart."""


PANELS = (
    Panel("distance to the target: lower is nearer", lambda s: s.distance, 0.0, "#0072B2"),
    Panel("diversity, the source's is 1: higher is more", lambda s: s.diversity, 1.0, "#009E73"),
    Panel("copied share: lower is better", lambda s: s.copied, 1.0, "#D55E00"),
)


def curve_svg(scores: Sequence[Score], choice: ChosenStep) -> str:
    """The picture as SVG text: `scores` in the order of their steps, the source's (step 0) first.

    Each panel holds a line with a round point for each score, and a dashed line at the chosen
    step, whose number stands below.
    """
    title = f"Scores over the steps; the step to take is {choice.step}"
    return as_svg(lambda: curve(scores, choice), title)


def as_svg(draw: Callable[[], Figure], title: str) -> str:
    """What `draw` gives, in the style of the report, as SVG text."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context(STYLE):
        metadata = {"Date": None, "Creator": None, "Title": title}
        draw().savefig(text, format="svg", metadata=metadata)
    return text.getvalue()


def write_curve(path: Path, scores: Sequence[Score], choice: ChosenStep) -> None:
    """Write the picture. Raises `AntError` if that fails."""
    with replacing(path) as temporary:
        temporary.write_text(curve_svg(scores, choice), encoding="utf-8")


def curve(scores: Sequence[Score], choice: ChosenStep) -> Figure:
    """The picture as a figure of matplotlib, which is slow to import."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(INCHES, layout="constrained")
    panels = figure.subplots(len(PANELS), sharex=True)
    for axes, panel in zip(panels, PANELS, strict=True):
        values = [panel.value(score) for score in scores]
        low, high = min(0.0, *values), max(panel.least_top, *values)
        axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
        axes.plot([s.step for s in scores], values, "-", color=panel.colour, linewidth=2)
        for score, value in zip(scores, values, strict=True):
            # Full where the step is taken, hollow elsewhere: told apart without colours.
            fill = panel.colour if score.step == choice.step else "white"
            axes.plot(score.step, value, "o", color=panel.colour, markerfacecolor=fill)
        axes.axvline(choice.step, color="black", linewidth=1, linestyle="--", gid="chosen")
        margin = 0.05 * ((high - low) or 1.0)
        axes.set_ylim(low - margin, high + margin)
        axes.grid(axis="y", color="#c8c8c8", linewidth=0.7)
        axes.spines["right"].set_visible(False)
    last = panels[-1]
    last.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    last.set_xlim(left=min(0, *last.get_xlim()))
    last.set_xlabel("training steps (0: the source, not adapted)", labelpad=20)
    share = choice.step / max(scores[-1].step, 1)
    last.annotate(
        f"take step {choice.step}",
        (share, 0),
        (0, -18),  # points below it, between the steps and what they are
        xycoords="axes fraction",
        textcoords="offset points",
        # Inwards at both ends, where the middle of it would be cut off.
        horizontalalignment="left" if share < 0.25 else "right" if share > 0.75 else "center",
        verticalalignment="top",
        fontweight="bold",
        annotation_clip=False,
    )
    return figure
