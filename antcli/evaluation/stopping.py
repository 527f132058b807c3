"""When to stop: which step of a run to take, by scores that need no held-out data.

Training first brings samples to the target, then has nothing more to learn from a few images
but these images themselves: the distance to the target levels off while diversity goes on
falling. The step to take is the first at which nearly all of the way is done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from antcli.artifacts import write_json
from antcli.errors import AntError

NEARLY_ALL = 0.95
"""The share of the longest way towards the target that is near enough."""
PATIENCE = 2
"""Scores after the step taken that have to confirm it."""
ARRIVED = 0.8
"""The share of the source's own distance that has to be gone before training may end early.

The distance is unbiased: about 0 is what more images of the target would have. Far from it,
scores that do not fall mean a detour rather than the end.
"""


@dataclass(frozen=True)
class Score:
    """How the network does after a step, without held-out data."""

    step: int
    """0 is the source, not adapted."""
    distance: float
    """Kernel distance of the samples to the target's images."""
    diversity: float
    """Mean distance between two samples, as a share of the source's from the same noise."""
    copied: float
    """Share of samples nearer to a target image than two target images are to each other."""

    def __str__(self) -> str:
        return (
            f"distance {self.distance:.3f}, diversity {self.diversity:.2f}, "
            f"copied {self.copied:.2f}"
        )


@dataclass(frozen=True)
class ChosenStep:
    """The step to take."""

    step: int
    why: str


def choose(scores: Sequence[Score], settles: bool = False) -> ChosenStep:
    """The step to take. `scores` are in the order of their steps, that of the source first.

    Where the learning rate `settles`, it is the last: its fall steadies samples, which few images
    show less well than that most of the way is done.
    """
    start, *rest = scores
    if not rest:
        return ChosenStep(start.step, "nothing else is there")
    if settles:
        return ChosenStep(rest[-1].step, "the last, at which the learning rate has settled")
    longest = max(start.distance - score.distance for score in rest)
    if longest <= 0:
        return ChosenStep(
            rest[0].step, "no step came nearer to the target: this one went least far"
        )
    near = next(s for s in rest if start.distance - s.distance >= NEARLY_ALL * longest)
    share = (start.distance - near.distance) / longest
    later = "; later ones cost diversity" if near is not rest[-1] else ""
    return ChosenStep(
        near.step,
        f"the first step with {share:.0%} of the longest way to the target "
        f"(distance {start.distance:.3f} to {near.distance:.3f}){later}",
    )


def is_over(scores: Sequence[Score]) -> bool:
    """Whether training on would not change the choice any more, as far as can be told."""
    if len(scores) < 2:
        return False
    step = choose(scores).step
    taken = next(score for score in scores if score.step == step)
    arrived = taken.distance <= (1 - ARRIVED) * scores[0].distance
    return arrived and sum(score.step > step for score in scores) >= PATIENCE


def read_scores(path: Path) -> list[Score]:
    """What `write_scores` wrote; none where there is no such file.

    Raises `AntError` where it is something else.
    """
    if not path.exists():
        return []
    try:
        return [Score(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise AntError(f"{path} is damaged", "remove it, then run the command again") from error


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Write scores as JSON."""
    write_json(path, [asdict(score) for score in scores])
