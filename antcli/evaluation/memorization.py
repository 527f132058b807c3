"""Whether samples are copies of the target images.

Authenticity: A. M. Alaa et al., "How Faithful is your Synthetic Data? Sample-level Metrics for
Evaluating and Auditing Generative Models", ICML 2022 (arXiv 2102.08921), Sec. 3.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from antcli.errors import AntError
from antcli.evaluation import cautions
from antcli.evaluation.checks import GENERATED, TARGET, checked

PAIRS = 20
SAME = 1e-4
"""Target images closer than this share of their largest distance are one image."""


@dataclass(frozen=True)
class Pair:
    """A sample and the target image nearest to it, by their places in the two sets."""

    sample: int
    target: int
    distance: float


@dataclass(frozen=True)
class Memorization:
    """The result, with all that it takes to compare it with another."""

    copy_rate: float
    """Share of samples that are closer to a target image than any two target images are to each
    other, in [0, 1]."""
    copy_rate_by_chance: float
    """The copy rate to expect of new images of the target's very distribution."""
    threshold: float
    """The smallest distance between two different target images."""
    authenticity: float
    """Share of samples that are not closer to their nearest target image than another target
    image is to that one, in [0, 1]. Not 1 for new images of the target's very distribution, but
    0.36 (in one dimension) to 0.64 (in many) around ten target images."""
    nearest: tuple[int, ...]
    """For each sample the target image nearest to it."""
    nearest_distance: tuple[float, ...]
    pairs: tuple[Pair, ...]
    """The twenty samples nearest to a target image, the nearest first."""
    cautions: tuple[str, ...]
    definition: dict[str, object]

    def as_dict(self) -> dict[str, object]:
        """The result as JSON takes it."""
        return {"metric": "memorization", **asdict(self)}


def memorization(to_target: Tensor, among_target: Tensor) -> Memorization:
    """Copying, from distances of samples to target images [N, M] and among these [M, M].

    Distances of any one space, squared or not. Target images that repeat another one (closer
    than 1e-4 of the largest distance among them, so that rounding does not tell them apart)
    count once.

    The copy rate's threshold is the smallest distance between two target images, not a quantile
    of their distances to their neighbours, because then it means something without assumptions:
    a sample is below it if it is part of the closest pair among itself and the M target images.
    A new image of their distribution is so with probability 2 / (M + 1), `copy_rate_by_chance`:
    18 % for ten images, give or take 14 % from one choice of ten to another. Below a median,
    half of such images or more would pass for copies. The price is that one pair of target
    images decides: a caution is given where it is unusually close, and authenticity, which asks
    each target image's own neighbour, does not depend on it.

    Raises `AntError` for fewer than two different target images, for no samples and for NaN.
    """
    among = checked(among_target, TARGET, least=2)
    distances = checked(to_target, GENERATED, least=1)
    same = (among <= SAME * among.max()) | torch.eye(len(among)).bool()
    neighbour = among.masked_fill(same, torch.inf).amin(1)
    distinct = len(same.int().argmax(1).unique())
    if distinct < 2:
        raise AntError(
            f"the {len(among)} target images are all the same one",
            "copying is measured against how far target images are from each other",
        )
    nearest_distance, nearest = distances.min(1)
    threshold, chance = float(neighbour.min()), 2 / (distinct + 1)
    copies = nearest_distance < threshold
    unauthentic = nearest_distance < neighbour[nearest]
    return Memorization(
        copy_rate=int(copies.sum()) / len(distances),
        copy_rate_by_chance=chance,
        threshold=threshold,
        authenticity=1 - int(unauthentic.sum()) / len(distances),
        nearest=tuple(nearest.tolist()),
        nearest_distance=tuple(nearest_distance.tolist()),
        pairs=_nearest_pairs(nearest_distance, nearest),
        cautions=cautions.memorization(
            len(among), distinct, chance, threshold, float(neighbour.median())
        ),
        definition={
            "threshold": "smallest distance between two different target images",
            "authenticity": "not nearer than the nearest target image's own neighbour",
            "target_images": len(among),
            "different_target_images": distinct,
            "generated_images": len(distances),
        },
    )


def _nearest_pairs(distance: Tensor, nearest: Tensor) -> tuple[Pair, ...]:
    order = distance.argsort(stable=True)[:PAIRS].tolist()
    return tuple(Pair(i, int(nearest[i]), float(distance[i])) for i in order)
