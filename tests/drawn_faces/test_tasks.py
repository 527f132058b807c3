"""Tasks whose people are known in columns: which directions of these show in a picture."""

import statistics
from dataclasses import replace

import numpy as np
import pytest

from antcli.drawn_faces.domains import attributes, avatar
from antcli.drawn_faces.tasks import (
    COLUMNS,
    IDLE,
    MATTERING,
    RANDOM_MAP,
    SOURCE_TASKS,
    TARGET_TASKS,
    columns,
    example,
    mattering,
    person_of,
)

MAP = np.array(RANDOM_MAP)


def test_a_seed_is_one_drawing_and_its_columns() -> None:
    for task in (*SOURCE_TASKS, *TARGET_TASKS):
        first, again, other = example(3, task), example(3, task), example(4, task)
        assert first[0].tobytes() == again[0].tobytes() and first[1] == again[1]
        assert first[0].tobytes() != other[0].tobytes() and first[1] != other[1]
        assert len(first[1]) == COLUMNS


def test_a_source_task_is_people_of_one_hair_style_and_a_target_a_domain() -> None:
    for task in SOURCE_TASKS:
        assert {person_of(seed, task).hair_style for seed in range(8)} == {task}
    for task in TARGET_TASKS:
        assert example(5, task)[0].tobytes() == avatar(5, 32, task)[0].tobytes()
    with pytest.raises(ValueError, match=r"'goggles'; known are bald, .*face-paint"):
        person_of(0, "goggles")


def test_the_map_has_full_rank_and_what_matters_can_be_read_off_the_columns() -> None:
    size = MATTERING + IDLE
    assert MAP.shape == (COLUMNS, size) and np.linalg.matrix_rank(MAP) == size
    for seed in range(5):
        person = person_of(seed, "hats")
        known = np.linalg.lstsq(MAP, np.array(columns(seed, person)), rcond=None)[0]
        np.testing.assert_allclose(known[:MATTERING], mattering(person), atol=1e-9)


def test_what_does_not_show_moves_columns_and_what_is_not_told_does_not() -> None:
    person = attributes(7)
    told = columns(7, person)
    assert columns(8, person) != told
    assert columns(7, replace(person, mouth="open", head_x=0.6, iris="blue")) == told
    moved = np.subtract(columns(7, replace(person, hair_rgb=(208, 0, 0))), told)
    change = (np.array((208, 0, 0)) - person.hair_rgb) / 64
    np.testing.assert_allclose(moved, MAP[:, 1:4] @ change, atol=1e-9)


def test_columns_are_about_zero_and_one() -> None:
    rows = [columns(seed, attributes(seed)) for seed in range(300)]
    for column in zip(*rows, strict=True):
        assert abs(statistics.mean(column)) < 0.3
        assert 0.6 < statistics.stdev(column) < 1.5
