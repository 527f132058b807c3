"""Which step is taken, and when training ends."""

from pathlib import Path

import pytest

from antcli.errors import AntError
from antcli.evaluation.stopping import Score, choose, is_over, read_scores, write_scores


def scores(*distances: float) -> list[Score]:
    """Of the source and then of every 25th step."""
    return [Score(25 * i, distance, 1.0, 0.0) for i, distance in enumerate(distances)]


def test_the_first_step_with_nearly_all_of_the_way_is_taken() -> None:
    assert choose(scores(10, 6, 1.4, 1.0, 1.2)).step == 50
    assert choose(scores(10, 6, 1.5, 1.0, 1.2)).step == 75


def test_the_reason_names_the_share_of_the_way() -> None:
    assert "96%" in choose(scores(10, 6, 1.36, 1.0)).why
    assert "later ones cost diversity" in choose(scores(10, 6, 1.36, 1.0)).why
    assert "later" not in choose(scores(10, 6, 1.0)).why, "there are none"


def test_a_run_that_never_came_nearer_is_cut_at_its_first_step() -> None:
    assert choose(scores(10, 11, 12)).step == 25
    assert "no step came nearer" in choose(scores(10, 11, 12)).why


def test_where_the_learning_rate_settles_the_last_step_is_taken() -> None:
    assert choose(scores(10, 1, 1.4, 1.2), settles=True).step == 75
    assert choose(scores(10), settles=True).step == 0


@pytest.mark.parametrize(
    ("distances", "over"),
    [
        ((10.0,), False),
        ((10, 1), False),
        ((10, 1, 1.1), False),
        ((10, 1, 1.1, 1.2), True),
        # Still on its way: each step is much nearer than the one before.
        ((10, 7, 5, 3), False),
        # It stands still, but far from the target.
        ((10, 5, 5.1, 5.2), False),
        ((10, 2.1, 2.2, 2.3), False),
        ((10, 1.9, 2.2, 2.3), True),
        # It had settled, and then found a way on.
        ((10, 5, 5.1, 2), False),
    ],
)
def test_training_ends_when_two_more_scores_confirm_the_choice(
    distances: tuple[float, ...], over: bool
) -> None:
    assert is_over(scores(*distances)) is over


def test_scores_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    assert read_scores(path) == []
    write_scores(path, scores(3, 2, 1))
    assert read_scores(path) == scores(3, 2, 1)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(AntError, match="damaged"):
        read_scores(path)
