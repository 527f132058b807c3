"""The scores of a run's checkpoints over its steps, as a small SVG drawn by hand.

Three panels under each other share the steps. Narrow on purpose: a phone shows it without
making the letters too small, and a wider screen enlarges it without loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from antcli.artifacts import replacing
from antcli.evaluation.stopping import Choice, Score

WIDTH = 420
LEFT, RIGHT = 62, 402
TOP, PANEL, GAP, BOTTOM = 28, 108, 42, 62
"""Heights: above the first panel, of a panel, between two (for the lower one's title), below."""
TICKS = 4
"""About so many on each axis."""
INK, FAINT = "#1a1a1a", "#c8c8c8"


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
HEIGHT = TOP + len(PANELS) * PANEL + (len(PANELS) - 1) * GAP + BOTTOM


@dataclass(frozen=True)
class Axis:
    """Numbers from `low` to `high` laid out from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where `value` is drawn."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, whole: bool = False) -> list[tuple[float, str]]:
        """Round numbers on the axis (integers if `whole`), each with its place and plain text."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
        step = max(step, 1.0) if whole else step
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        numbers = [n * step for n in range(first, last + 1)]
        return [(self.place(number), f"{number:.{decimals}f}") for number in numbers]


def curve_svg(scores: Sequence[Score], choice: Choice) -> str:
    """The picture as SVG text: `scores` in the order of their steps, the source's (step 0) first.

    Each panel holds a line with a round point for each score, and a dashed line at the chosen
    step, whose number stands below. The picture has a view box and no size of its own.
    """
    steps = Axis(0, max(scores[-1].step, 1), LEFT, RIGHT)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">',
        f"<title>{escape(f'Scores over the steps; the step to take is {choice.step}')}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for number, panel in enumerate(PANELS):
        parts += _panel(panel, TOP + number * (PANEL + GAP), steps, scores, choice)
    parts += [*_steps_axis(steps), _mark(steps.place(choice.step), choice.step), "</svg>"]
    return "\n".join(parts) + "\n"


def write_curve(path: Path, scores: Sequence[Score], choice: Choice) -> None:
    """Write the picture. Raises `AntError` if that fails."""
    with replacing(path) as temporary:
        temporary.write_text(curve_svg(scores, choice), encoding="utf-8")


def _panel(
    panel: Panel, top: int, steps: Axis, scores: Sequence[Score], choice: Choice
) -> list[str]:
    values = [panel.value(score) for score in scores]
    low, high = min(0.0, *values), max(panel.least_top, *values)
    axis = Axis(low, high if high > low else low + 1, top + PANEL, top)
    points = [(steps.place(s.step), axis.place(v)) for s, v in zip(scores, values, strict=True)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [f'<text x="{LEFT}" y="{top - 10}" font-weight="600">{escape(panel.title)}</text>']
    for y, label in axis.ticks():
        parts += [
            _line(LEFT, y, RIGHT, y, FAINT),
            f'<text x="{LEFT - 8}" y="{y + 4.5:.1f}" text-anchor="end">{label}</text>',
        ]
    parts += [
        _line(LEFT, top, LEFT, top + PANEL, INK),
        _line(LEFT, top + PANEL, RIGHT, top + PANEL, INK),
        f'<polyline points="{path}" fill="none" stroke="{panel.colour}" stroke-width="2.5"/>',
    ]
    x = steps.place(choice.step)
    parts.append(
        f'<line class="chosen" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + PANEL}" '
        f'stroke="{INK}" stroke-width="1.5" stroke-dasharray="5 3"/>'
    )
    for score, (x, y) in zip(scores, points, strict=True):
        # Full where the step is taken, hollow elsewhere: told apart without colours.
        fill = panel.colour if score.step == choice.step else "white"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{panel.colour}" '
            f'stroke-width="2.5"/>'
        )
    return parts


def _steps_axis(steps: Axis) -> list[str]:
    bottom = HEIGHT - BOTTOM
    parts = []
    for x, label in steps.ticks(whole=True):
        parts += [
            _line(x, bottom, x, bottom + 4, INK),
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>',
        ]
    middle = (LEFT + RIGHT) / 2
    what = "training steps (0: the source, not adapted)"
    return [*parts, f'<text x="{middle}" y="{HEIGHT - 7}" text-anchor="middle">{what}</text>']


def _mark(x: float, step: int) -> str:
    """The number of the chosen step, under its line, moved inwards where it would be cut."""
    half = 48
    place = min(max(x, half), WIDTH - half)
    return (
        f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 36}" text-anchor="middle" '
        f'font-weight="600">take step {step}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        'stroke-width="1"/>'
    )
