"""Tasks that share what matters of a condition, for the setting of Cheng et al. (2025).

Each task draws people of its own kind. What is known of a person are many columns of numbers: a
fixed random map of ten that show in the picture, the colours of skin, hair, clothes and background,
and of others that do not. So every task has its own law of pictures, and of the columns the same
few directions matter in all of them.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import chain
from statistics import fmean

from PIL import Image

from antcli.drawn_faces.domains import attributes, render
from antcli.drawn_faces.people import (
    BACKGROUNDS,
    CLOTHES,
    HAIR_COLOURS,
    HAIR_STYLES,
    SKIN_TONES,
    Attributes,
)

SOURCE_TASKS = HAIR_STYLES
"""People of one hair style each."""
TARGET_TASKS = ("sunglasses", "hats", "face-paint")
"""Domains, people of all hair styles: a source of the others has seen none of these."""
MATTERING, IDLE, COLUMNS = 10, 22, 64
"""Numbers that show in a picture, others that do not, and columns that are made of both."""
REACH = 64
"""About the standard deviation of a channel over the colours that there are."""
PALETTES = {
    "skin_rgb": SKIN_TONES,
    "hair_rgb": HAIR_COLOURS,
    "clothes_rgb": CLOTHES,
    "background_rgb": BACKGROUNDS,
}
MIDDLES = {
    name: tuple(fmean(channel) for channel in zip(*palette.values(), strict=True))
    for name, palette in PALETTES.items()
}
"""The mean colour of each."""


def _random_map() -> tuple[tuple[float, ...], ...]:
    """Of what is known to each column; with it, a column has a variance of about 1."""
    draw, size = random.Random("tasks/map"), MATTERING + IDLE
    return tuple(
        tuple(draw.gauss(0, 1 / math.sqrt(size)) for _ in range(size)) for _ in range(COLUMNS)
    )


RANDOM_MAP = _random_map()


def person_of(seed: int, task: str) -> Attributes:
    """One person of a task. Raises `ValueError` for one that is not known."""
    if task in SOURCE_TASKS:
        return replace(attributes(seed), hair_style=task)
    if task not in TARGET_TASKS:
        known = ", ".join((*SOURCE_TASKS, *TARGET_TASKS))
        raise ValueError(f"unknown task {task!r}; known are {known}")
    return attributes(seed, task)


def mattering(person: Attributes) -> tuple[float, ...]:
    """What shows in the picture, `MATTERING` numbers about 0: one of the skin, three colours."""
    skin, *colours = (
        [(c - m) / REACH for c, m in zip(getattr(person, name), middle, strict=True)]
        for name, middle in MIDDLES.items()
    )
    return (sum(skin) / 3, *chain.from_iterable(colours))


def columns(seed: int, person: Attributes) -> tuple[float, ...]:
    """What is known of a person, `COLUMNS` numbers about 0."""
    draw = random.Random(f"tasks/{seed}")
    known = (*mattering(person), *(draw.gauss(0, 1) for _ in range(IDLE)))
    return tuple(sum(w * v for w, v in zip(row, known, strict=True)) for row in RANDOM_MAP)


def example(seed: int, task: str, size: int = 32) -> tuple[Image.Image, tuple[float, ...]]:
    """One drawing of a task, and its columns; both from one seed."""
    person = person_of(seed, task)
    domain = "avatars" if task in SOURCE_TASKS else task
    return render(person, size, domain), columns(seed, person)
