"""The curve over the steps: what is drawn is where the numbers say."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from antcli.evaluation.curve import PANELS, curve, curve_svg, write_curve
from antcli.evaluation.stopping import ChosenStep, Score

SCORES = [
    Score(0, 1.25, 1.0, 0.0),
    Score(25, 0.5, 0.9, 0.1),
    Score(50, 0.25, 0.8, 0.2),
    Score(1000, -0.05, 0.6, 0.55),
]


def lines(axes: Axes, marker: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_marker() == marker]


def test_each_score_has_a_point_and_the_chosen_step_a_line() -> None:
    panels = curve(SCORES, ChosenStep(50, "")).axes
    assert [axes.get_title(loc="left") for axes in panels] == [panel.title for panel in PANELS]
    for axes, panel in zip(panels, PANELS, strict=True):
        points = [(p.get_xdata()[0], p.get_ydata()[0]) for p in lines(axes, "o")]
        assert points == [(score.step, panel.value(score)) for score in SCORES]
        full = [point.get_markerfacecolor() != "white" for point in lines(axes, "o")]
        assert full == [False, False, True, False], "seen without colours, too"
        (mark,) = [line for line in axes.lines if line.get_gid() == "chosen"]
        assert list(mark.get_xdata()) == [50, 50]
        low, high = axes.get_ylim()
        assert low < 0 and high > max(panel.value(score) for score in SCORES)
        assert axes.get_xlim()[0] <= 0 and axes.get_xlim()[1] >= 1000


@pytest.mark.parametrize("step", [0, 25, 50, 1000])
def test_the_name_of_the_step_taken_is_whole(step: int) -> None:
    figure = curve(SCORES, ChosenStep(step, ""))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (label,) = figure.axes[-1].texts
    assert label.get_text() == f"take step {step}"
    box = label.get_window_extent(canvas.get_renderer())
    assert box.x0 >= 0 and box.y0 >= 0
    assert box.x1 <= figure.bbox.x1
    ticks = [one.get_window_extent() for one in figure.axes[-1].get_xticklabels()]
    assert not any(
        box.overlaps(tick) for tick in [*ticks, figure.axes[-1].xaxis.label.get_window_extent()]
    )


@pytest.mark.parametrize(
    "scores",
    [
        [Score(0, 0.0, 1.0, 0.0)],
        [Score(0, 0.0, 1.0, 0.0), Score(1, 0.0, 1.0, 0.0)],
        [Score(0, -0.5, 1.0, 0.0), Score(7, -1.0, 1.4, 1.0)],
    ],
)
def test_few_or_level_scores_are_drawn_too(scores: list[Score]) -> None:
    figure = curve(scores, ChosenStep(scores[-1].step, ""))
    FigureCanvasAgg(figure).draw()
    assert all(len(lines(axes, "o")) == len(scores) for axes in figure.axes)
    assert all(np.isfinite(axes.get_ylim()).all() for axes in figure.axes)


def test_the_file_is_the_picture_and_the_same_each_time(tmp_path: Path) -> None:
    write_curve(tmp_path / "curve.svg", SCORES, ChosenStep(50, ""))
    written = (tmp_path / "curve.svg").read_text(encoding="utf-8")
    assert written == curve_svg(SCORES, ChosenStep(50, ""))
    root = ElementTree.fromstring(written)
    assert root.get("viewBox") is not None
    assert "the step to take is 50" in written
