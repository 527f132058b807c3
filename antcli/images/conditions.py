"""What sets the images of one target apart: a name or some numbers beside each.

A condition is asked for in words: `hats`; `glasses=0.5,hats=0.5`, a mixture; `age=0.7`. What a
network is told of it is a vector, on which its embedding depends linearly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from antcli.errors import AntError

SHOWN = 4
"""Conditions that stand for all, where these are numbers."""
APART = ("=", ",", "#")
"""What a name must not hold, or nobody could ask for it."""


@dataclass(frozen=True)
class Conditions:
    """`Named` or `Numbered`: those of a target, and which of them each of its images has."""

    def label(self, asked: str) -> Tensor:
        """What a network is told of a condition in words, [size]. Raises `AntError`."""
        raise NotImplementedError

    def remarks(self, asked: str) -> Iterator[str]:
        """What a user should know of a condition that is asked for."""
        yield from ()

    def depends_on_seed(self, asked: str) -> bool:
        """Whether samples that are asked for it are not all told the same."""
        return False

    @property
    def of_images(self) -> Sequence[str]:
        """Of each image, in words."""
        raise NotImplementedError

    @property
    def in_turn(self) -> Sequence[str]:
        """Those that samples have where none is asked for, one after the other."""
        raise NotImplementedError

    @property
    def shown(self) -> Sequence[str]:
        """Those that are looked at and measured one by one."""
        raise NotImplementedError

    def near(self, condition: str) -> str:
        """Which of those that are `shown` stands for a condition."""
        raise NotImplementedError

    def as_dict(self) -> dict[str, Any]:
        """Plain values, of which `conditions_from` makes them again."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Numbers of a label."""
        return len(self.label(self.in_turn[0]))

    @property
    def labels(self) -> Tensor:
        """Of all images, [N, size]."""
        return torch.stack([self.label(condition) for condition in self.of_images])

    def of_seed(self, seed: int) -> str:
        """What a sample has where nothing is asked for: it depends on its seed alone."""
        return self.in_turn[seed % len(self.in_turn)]

    def labels_of(self, seeds: Sequence[int], asked: str = "") -> Tensor:
        """Of samples, [len(seeds), size]: what is asked for, or those in turn."""
        return torch.stack([self.label(asked or self.of_seed(seed)) for seed in seeds])


@dataclass(frozen=True)
class Named(Conditions):
    """A name for each condition; a label has a number for each, 1 where the image has it."""

    names: tuple[str, ...]
    which: tuple[int, ...]
    """Of each image, the place of its name."""

    @property
    def places(self) -> dict[str, list[int]]:
        """Of the images of each name."""
        return {
            name: [k for k, i in enumerate(self.which) if i == place]
            for place, name in enumerate(self.names)
        }

    def label(self, asked: str) -> Tensor:
        """The weights of the names in a mixture, whatever they sum to."""
        weights = dict.fromkeys(self.names, 0.0) | words(asked, self.names, alone=True)
        return torch.tensor([weights[name] for name in self.names])

    @property
    def of_images(self) -> Sequence[str]:
        """Their names."""
        return [self.names[i] for i in self.which]

    @property
    def in_turn(self) -> Sequence[str]:
        """Each name."""
        return self.names

    @property
    def shown(self) -> Sequence[str]:
        """Each name."""
        return self.names

    def near(self, condition: str) -> str:
        """A name stands for itself."""
        return condition

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"names": list(self.names), "which": list(self.which)}


@dataclass(frozen=True)
class NamedImages(Named):
    """Names, each image being a condition of its own: a sample of a name has what is new in one of
    its images, by the seed, and `hats#3` asks for the third. A label has a number for each image.
    """

    def label(self, asked: str) -> Tensor:
        """That of the first image of each name in a mixture."""
        return self._of(asked, 0)

    def depends_on_seed(self, asked: str) -> bool:
        """Unless single images are asked for."""
        return bool(words(asked, [*self._known], alone=True).keys() & set(self.names))

    def labels_of(self, seeds: Sequence[int], asked: str = "") -> Tensor:
        """Samples have the names in turn, and then the images of each."""
        if asked:
            return torch.stack([self._of(asked, seed) for seed in seeds])
        return torch.stack([self._of(self.of_seed(s), s // len(self.names)) for s in seeds])

    @property
    def of_images(self) -> Sequence[str]:
        """Their names, and which of these each is."""
        return [f"{self.names[i]}#{self.which[: k + 1].count(i)}" for k, i in enumerate(self.which)]

    def near(self, condition: str) -> str:
        """The name."""
        return condition.partition("#")[0]

    def _of(self, asked: str, turn: int) -> Tensor:
        label = torch.zeros(len(self.which))
        for name, weight in words(asked, [*self._known], alone=True).items():
            images = self._known[name]
            label[images[turn % len(images)]] += weight
        return label

    @cached_property
    def _known(self) -> dict[str, list[int]]:
        """The places of the images that are meant by a word."""
        single = {image: [i] for i, image in enumerate(self.of_images)}
        return self.places | single


@dataclass(frozen=True)
class Numbered(Conditions):
    """Columns of numbers; a label has 1, and of each column z in [-1, 1] over what was seen, and
    sin(pi z) and cos(pi z), which beyond what was seen stay as at its end: there the line goes on.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    """Of each image, its numbers."""

    def label(self, asked: str) -> Tensor:
        """What is not said of a column is in the middle of what was seen."""
        z = self._standard(self._numbers(asked))
        waves = z.clamp(-1, 1) * math.pi
        return torch.cat([torch.ones(1), z, waves.sin(), waves.cos()])

    def remarks(self, asked: str) -> Iterator[str]:
        """Of numbers that no image has."""
        for name, value in words(asked, self.columns, alone=False).items():
            low, high = self._span[name]
            if not low <= value <= high:
                yield f"{name}={value:g} is outside of what was seen, {low:g} to {high:g}"

    @property
    def of_images(self) -> Sequence[str]:
        """Their numbers."""
        return [self._words(row) for row in self.rows]

    @property
    def in_turn(self) -> Sequence[str]:
        """Those of the images."""
        return list(dict.fromkeys(self.of_images))

    @property
    def shown(self) -> Sequence[str]:
        """Those of a few images, from the lowest to the highest of the first column."""
        rows = sorted(set(self.rows))
        count = min(SHOWN, len(rows))
        return [self._words(rows[i * (len(rows) - 1) // max(1, count - 1)]) for i in range(count)]

    def near(self, condition: str) -> str:
        """The one that is shown and has the nearest numbers."""
        here = self._standard(self._numbers(condition))
        apart = [
            float((self._standard(self._numbers(c)) - here).square().sum()) for c in self.shown
        ]
        return self.shown[apart.index(min(apart))]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"columns": list(self.columns), "rows": [list(row) for row in self.rows]}

    @cached_property
    def _span(self) -> dict[str, tuple[float, float]]:
        seen = zip(*self.rows, strict=True)
        return {name: (min(all_), max(all_)) for name, all_ in zip(self.columns, seen, strict=True)}

    def _numbers(self, asked: str) -> list[float]:
        said = words(asked, self.columns, alone=False)
        return [said.get(name, sum(self._span[name]) / 2) for name in self.columns]

    def _standard(self, numbers: Sequence[float]) -> Tensor:
        spans = zip(numbers, self._span.values(), strict=True)
        return torch.tensor([(2 * x - low - high) / (high - low) for x, (low, high) in spans])

    def _words(self, row: Sequence[float]) -> str:
        return ",".join(f"{name}={x:.12g}" for name, x in zip(self.columns, row, strict=True))


def known_apart(images: int, conditions: Conditions | None) -> Conditions | None:
    """What may be asked for where so many `images` are conditions of their own, 0 being none, of a
    target of these `conditions`; where it has none, images by their numbers.
    """
    if not images:
        return conditions
    if isinstance(conditions, Named):
        return NamedImages(conditions.names, conditions.which)
    return Named(tuple(str(i + 1) for i in range(images)), tuple(range(images)))


def conditions_from(values: Mapping[str, Any] | None) -> Conditions | None:
    """Those that `as_dict` told of; None of None."""
    if values is None:
        return None
    if "names" in values:
        return Named(tuple(values["names"]), tuple(values["which"]))
    return Numbered(tuple(values["columns"]), tuple(map(tuple, values["rows"])))


def words(asked: str, known: Sequence[str], *, alone: bool) -> dict[str, float]:
    """`NAME=NUMBER,...` as numbers by their names; `alone`, a name is enough, and means 1.

    Raises `AntError` (wrong usage) for what is neither, or not known.
    """
    found: dict[str, float] = {}
    for part in asked.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if name not in known:
            raise AntError(
                f"this run knows no condition {name!r}",
                f"it knows {', '.join(known)}" + ("" if alone else ", as in NAME=NUMBER"),
                exit_code=2,
            )
        try:
            found[name] = 1.0 if alone and not equals else float(number)
        except ValueError:
            found[name] = math.nan
        if not math.isfinite(found[name]):
            raise AntError(
                f"{part.strip()!r} says no number of {name}",
                f"say {name}=0.5, say" if alone else f"say {name}=NUMBER",
                exit_code=2,
            )
    return found
