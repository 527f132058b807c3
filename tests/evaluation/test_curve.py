"""The curve over the steps: what is drawn is where the numbers say."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from antcli.evaluation.curve import HEIGHT, LEFT, PANELS, RIGHT, WIDTH, Axis, curve_svg, write_curve
from antcli.evaluation.stopping import Choice, Score

SVG = "{http://www.w3.org/2000/svg}"
SCORES = [
    Score(0, 1.25, 1.0, 0.0),
    Score(25, 0.5, 0.9, 0.1),
    Score(50, 0.25, 0.8, 0.2),
    Score(100, -0.05, 0.6, 0.55),
]


def drawn(scores: list[Score], choice: Choice) -> ElementTree.Element:
    return ElementTree.fromstring(curve_svg(scores, choice))


def points(svg: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """The round points of each panel."""
    found = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in svg.iter(f"{SVG}circle")]
    each = len(found) // len(PANELS)
    return [found[i : i + each] for i in range(0, len(found), each)]


def test_points_stand_at_their_steps_within_the_box() -> None:
    panels = points(drawn(SCORES, Choice(50, "")))
    assert len(panels) == 3
    for panel in panels:
        x = [at for at, _ in panel]
        assert len(panel) == len(SCORES)
        assert x == sorted(set(x))
        assert x[0] == LEFT and x[-1] == RIGHT
        # Equal numbers of steps are equally wide: 25 to 50 is half of 50 to 100.
        assert x[3] - x[2] == pytest.approx(2 * (x[2] - x[1]))
        assert all(0 < at < WIDTH and 0 < height < HEIGHT for at, height in panel)


def test_higher_numbers_stand_higher() -> None:
    distance, diversity, copied = points(drawn(SCORES, Choice(50, "")))
    for panel, values in (
        (distance, [s.distance for s in SCORES]),
        (diversity, [s.diversity for s in SCORES]),
        (copied, [s.copied for s in SCORES]),
    ):
        heights = [-y for _, y in panel]
        assert sorted(range(4), key=heights.__getitem__) == sorted(range(4), key=values.__getitem__)
    assert max(y for _, y in distance) < min(y for _, y in diversity)  # a panel is under another
    assert max(y for _, y in diversity) < min(y for _, y in copied)


def test_the_chosen_step_is_marked_in_each_panel_and_named() -> None:
    svg = drawn(SCORES, Choice(50, ""))
    marks = [line for line in svg.iter(f"{SVG}line") if line.get("class") == "chosen"]
    assert len(marks) == 3
    for mark, panel in zip(marks, points(svg), strict=True):
        assert mark.get("x1") == mark.get("x2")
        at, height = panel[2]
        assert float(mark.get("x1", "")) == pytest.approx(at)
        assert float(mark.get("y1", "")) <= height <= float(mark.get("y2", ""))
    assert "take step 50" in [text.text for text in svg.iter(f"{SVG}text")]
    full = [circle.get("fill") != "white" for circle in svg.iter(f"{SVG}circle")]
    assert full == [False, False, True, False] * 3  # seen without colours, too


def test_ticks_are_plain_round_numbers_at_their_places() -> None:
    assert Axis(0, 100, 0, 200).ticks() == [
        *((0, "0"), (50 * 2, "50"), (100 * 2, "100")),
    ]
    assert [label for _, label in Axis(0, 0.06, 0, 1).ticks()] == ["0.00", "0.02", "0.04", "0.06"]
    assert [label for _, label in Axis(0, 2, 0, 1).ticks(whole=True)] == ["0", "1", "2"]
    assert [label for _, label in Axis(-30, 90, 0, 1).ticks()] == ["0", "50"]
    for low, high in [(0, 3e-5), (0, 1e6), (-0.2, 0.7), (0, 1)]:
        axis = Axis(low, high, 10, 110)
        ticks = axis.ticks()
        assert 2 <= len(ticks) <= 6
        for place, label in ticks:
            assert "e" not in label
            assert place == pytest.approx(axis.place(float(label)))


@pytest.mark.parametrize(
    "scores",
    [
        [Score(0, 0.0, 1.0, 0.0)],
        [Score(0, 0.0, 1.0, 0.0), Score(1, 0.0, 1.0, 0.0)],
        [Score(0, -0.5, 1.0, 0.0), Score(7, -1.0, 1.4, 1.0)],
    ],
)
def test_few_or_level_scores_are_drawn_too(scores: list[Score]) -> None:
    svg = drawn(scores, Choice(scores[-1].step, ""))
    assert [len(panel) for panel in points(svg)] == [len(scores)] * 3
    for panel in points(svg):
        assert all(LEFT <= x <= RIGHT and 0 < y < HEIGHT for x, y in panel)


def test_all_text_is_inside_and_the_size_is_the_readers_choice() -> None:
    for step in (0, 50, 100):
        svg = drawn(SCORES, Choice(step, ""))
        assert svg.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
        assert svg.get("width") is None
        for text in svg.iter(f"{SVG}text"):
            long = 7.2 * len(text.text or "")  # a wide font at this size
            before = {"end": long, "middle": long / 2}.get(text.get("text-anchor", ""), 0)
            left = float(text.get("x", "")) - before
            assert left >= 0 and left + long <= WIDTH, text.text


def test_the_file_holds_the_picture(tmp_path: Path) -> None:
    write_curve(tmp_path / "curve.svg", SCORES, Choice(50, ""))
    written = (tmp_path / "curve.svg").read_text(encoding="utf-8")
    assert written == curve_svg(SCORES, Choice(50, ""))
