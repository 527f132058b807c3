"""Conditions in words, and the labels that they come to."""

import math
from typing import Any

import pytest
import torch

from antcli.errors import AntError
from antcli.images.conditions import (
    Named,
    NamedImages,
    Numbered,
    conditions_from,
    known_apart,
)

NAMED = Named(("glasses", "hats"), (0, 0, 1))
NUMBERED = Numbered(("age", "angle"), ((10.0, -1.0), (30.0, 1.0), (20.0, 0.5)))


def wave(z: float) -> list[float]:
    return [math.sin(math.pi * z), math.cos(math.pi * z)]


def near(found: torch.Tensor, expected: list[Any]) -> None:
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=1e-6
    )


def test_a_name_has_a_place_and_a_mixture_weights() -> None:
    near(NAMED.label("hats"), [0, 1])
    near(NAMED.label("glasses=0.25, hats=0.75"), [0.25, 0.75])
    near(NAMED.label("glasses,hats"), [1, 1])
    near(NAMED.labels[2], [0, 1])
    assert NAMED.labels.shape == (3, NAMED.size)


def test_a_sample_has_one_in_turn_by_its_seed_alone() -> None:
    near(NAMED.labels_of([5, 0])[0], [0, 1])
    near(NAMED.labels_of([5, 0])[1], [1, 0])
    near(NAMED.labels_of([5], "glasses")[0], [1, 0])
    assert [NUMBERED.of_seed(seed) for seed in range(4)] == [*NUMBERED.of_images, "age=10,angle=-1"]


def test_where_images_are_conditions_a_name_is_one_of_its_images_by_the_seed() -> None:
    known = known_apart(3, NAMED)
    assert isinstance(known, NamedImages)
    assert known.of_images == ["glasses#1", "glasses#2", "hats#1"]
    near(known.labels, torch.eye(3).tolist())
    assert known.size == 3
    # In turn the names, then the images of each: seeds 0 and 2 have glasses.
    near(known.labels_of(range(4)), [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]])
    near(known.labels_of(range(3), "glasses"), [[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    near(known.labels_of([1], "glasses=0.25,hats=0.75"), [[0, 0.25, 0.75]])
    near(known.label("glasses#2,hats#1=0.5"), [0, 1, 0.5])
    # A sample has the same name as of images that are no conditions.
    assert [known.of_seed(seed) for seed in range(4)] == [NAMED.of_seed(seed) for seed in range(4)]
    assert [*map(known.near, known.of_images)] == list(NAMED.of_images)
    asked = ["glasses", "glasses#1", "glasses#1,hats#1", "glasses#1,hats"]
    assert [known.depends_on_seed(each) for each in asked] == [True, False, False, True]
    with pytest.raises(AntError, match="no condition 'hats#2'"):
        known.label("hats#2")


def test_images_without_names_are_asked_for_by_their_numbers() -> None:
    known = known_apart(2, None)
    assert known is not None
    near(known.labels_of([0, 3]), [[1, 0], [0, 1]])
    near(known.label("2"), [0, 1])
    assert not known.depends_on_seed("2")
    assert known_apart(0, None) is None
    assert known_apart(0, NUMBERED) is NUMBERED


def test_numbers_are_measured_by_what_was_seen() -> None:
    sine, cosine = wave(-0.5), wave(0.5)
    near(NUMBERED.label("age=15,angle=0.5"), [1, -0.5, 0.5, sine[0], cosine[0], sine[1], cosine[1]])
    # In the middle where nothing is said.
    near(NUMBERED.label("age=10"), [1, -1, 0, *[wave(-1)[0], 0], *[-1, 1]])


def test_beyond_what_was_seen_the_line_goes_on_and_is_told() -> None:
    end, beyond = NUMBERED.label("age=30,angle=1"), NUMBERED.label("age=50,angle=1")
    near(beyond - end, [0, 2, 0, 0, 0, 0, 0])
    assert list(NUMBERED.remarks("age=50")) == ["age=50 is outside of what was seen, 10 to 30"]
    assert not [*NUMBERED.remarks("age=30,angle=0"), *NAMED.remarks("hats=7")]


def test_a_few_stand_for_all_numbers_and_each_number_for_one() -> None:
    many = Numbered(("age",), tuple((float(age),) for age in range(9)))
    assert many.shown == ["age=0", "age=2", "age=5", "age=8"]
    assert [many.near(f"age={age}") for age in (1.2, 3.4, 100)] == ["age=2", "age=2", "age=8"]
    assert NAMED.near("hats") == "hats"


@pytest.mark.parametrize("conditions", [NAMED, NUMBERED])
def test_plain_values_give_them_back(conditions: Named | Numbered) -> None:
    assert conditions_from(conditions.as_dict()) == conditions
    assert conditions_from(None) is None


@pytest.mark.parametrize(
    ("conditions", "asked", "says", "hint"),
    [
        (NAMED, "scarves", "no condition 'scarves'", "glasses, hats"),
        (NAMED, "hats=big", "'hats=big' says no number", "hats=0.5"),
        (NAMED, "hats=inf", "says no number", "hats=0.5"),
        (NUMBERED, "hair=1", "no condition 'hair'", "age, angle, as in NAME=NUMBER"),
        (NUMBERED, "age", "'age' says no number", "age=NUMBER"),
    ],
)
def test_what_nobody_knows_is_told(
    conditions: Named | Numbered, asked: str, says: str, hint: str
) -> None:
    with pytest.raises(AntError) as raised:
        conditions.label(asked)
    assert says in raised.value.message
    assert hint in raised.value.hint
    assert raised.value.exit_code == 2
