"""Intra-LPIPS: how much the images that lie nearest to the same target image differ.

Each generated image joins the target image it is closest to in LPIPS; a cluster's value is the
mean LPIPS over its pairs, and the metric is the mean over clusters: U. Ojha et al., "Few-shot
Image Generation via Cross-domain Correspondence", CVPR 2021 (arXiv 2104.06820).

High values alone prove little: a source that was not adapted at all scores high.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from antcli.evaluation.centres import BATCH, CHUNK, SIZE, Centres, colours
from antcli.evaluation.lpips import LpipsFeatures
from antcli.images.folder import ImageSource
from antcli.processes import ALONE, Shares
from antcli.randomness import generator

Protocol = Literal["cdc", "crdi"]

CAP = 50


@dataclass(frozen=True)
class Cluster:
    """The images nearest to one target image."""

    centre: str
    """The name of the target image."""
    size: int
    """Images that are nearest to it."""
    used: int
    """Of these, the ones in the pairs: no more than the cap."""
    mean: float | None
    """Mean LPIPS over the pairs; None where the cluster is dropped."""


@dataclass(frozen=True)
class IntraLpips:
    """The result, with all that it takes to compare it with another."""

    value: float | None
    """Mean over the clusters that count; None if there are none."""
    std: float | None
    """Standard deviation over these clusters (of a sample, n - 1); None for fewer than two."""
    clusters: tuple[Cluster, ...]
    """One for each target image, in their order."""
    dropped: int
    """Clusters of fewer than two images that are left out of the mean."""
    definition: dict[str, object]

    def as_dict(self) -> dict[str, object]:
        """The result as JSON takes it."""
        return {"metric": "intra-lpips", **asdict(self)}


@dataclass(frozen=True)
class _Rules:
    """In what the two published ways to compute the metric differ."""

    lowest: float
    """Black, in the generated images handed to LPIPS. White is 1; target images are in [-1, 1]."""
    shuffled: bool
    small: float | None
    """The value of a cluster without pairs; None drops it."""


_RULES: dict[Protocol, _Rules] = {
    "cdc": _Rules(lowest=-1.0, shuffled=True, small=None),
    # This code hands its images to LPIPS in [0, 1], where [-1, 1] is expected: lower values.
    "crdi": _Rules(lowest=0.0, shuffled=False, small=0.0),
}


def intra_lpips(
    images: ImageSource,
    centres: ImageSource,
    names: Sequence[str],
    features: LpipsFeatures,
    *,
    protocol: Protocol = "cdc",
    seed: int = 0,
    batch_size: int = 16,
    advance: Callable[[int], object] = lambda done: None,
    to_centres: Tensor | None = None,
    shares: Shares = ALONE,
) -> IntraLpips:
    """Intra-LPIPS of `images` around the target images `centres`, called `names`.

    - `cdc`, the definition of CDC and of the papers that followed it: clusters are shuffled
      (here by `seed`) and cut to 50 images; those with fewer than two are dropped.
    - `crdi`, as in the code of CRDI (arXiv 2407.07249) and its copies: generated images go to
      LPIPS in [0, 1], the first 50 of a cluster count, and one with fewer than two counts as 0.
      Values are lower; they compare with that family of papers only.

    Every image passes through the trunk once, on the device of `features`, each process its share
    of the batches; those of a batch are
    compared with the target's at once, whose vectors take longer to read than to multiply. Memory
    does not grow with the number of images: for each number in a feature vector (8 million with
    VGG, 2.2 with SqueezeNet) it takes 4 bytes per centre and 4 per image of a batch there, and 8
    per centre on the CPU. `advance`
    is called with the size of each batch that is done. All images are brought to 256x256.
    `to_centres` [N, K], where it is given, is filled with the LPIPS of each image to each centre,
    which that one pass has in hand already.
    """
    rules = _RULES[protocol]
    clusters = _Clusters(Centres(centres, features), CAP)
    vectors = clusters.centres.vectors.new_empty(batch_size, clusters.centres.vectors.shape[1])
    batches = [*_visits(len(images), batch_size, seed if rules.shuffled else None)]
    for first in range(0, len(batches), shares.count):
        among = batches[first : first + shares.count]
        batch = among[shares.index] if shares.index < len(among) else []
        own = vectors[: len(batch)]
        for part, out in zip(_parts(batch, BATCH), own.split(BATCH), strict=bool(batch)):
            features(colours(images, part, rules.lowest, features), out=out)
        each = shares.of_each(clusters.centres.distances(own))
        for index, (rows, distances) in enumerate(zip(among, each, strict=False)):
            clusters.add(distances, own if index == shares.index else None)
            if to_centres is not None:
                to_centres[rows] = distances.to(to_centres)
            advance(len(rows))
    each_of = zip(
        names, clusters.size, clusters.used, clusters.means(rules.small, shares), strict=True
    )
    found = tuple(Cluster(*of) for of in each_of)
    means = [cluster.mean for cluster in found if cluster.mean is not None]
    return IntraLpips(
        value=statistics.fmean(means) if means else None,
        std=statistics.stdev(means) if len(means) > 1 else None,
        clusters=found,
        dropped=len(found) - len(means),
        definition=_definition(features, protocol, len(images), seed),
    )


def _visits(count: int, batch_size: int, seed: int | None) -> Iterator[list[int]]:
    """All indices below `count` in batches, shuffled if there is a seed.

    The first of a cluster to be met are then a random choice among its members, one that
    depends on the seed and the number of images, not on the batches.
    """
    order = list(range(count))
    if seed is not None:
        order = torch.randperm(count, generator=generator(seed, "intra-lpips")).tolist()
    return _parts(order, batch_size)


def _parts(indices: list[int], size: int) -> Iterator[list[int]]:
    """So many at a time, in their order."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


class _Clusters:
    """Sums over the members of each cluster, enough for the mean over their pairs."""

    def __init__(self, centres: Centres, cap: int) -> None:
        self.centres = centres
        self.cap = cap
        self.size = [0] * len(centres)
        self.used = [0] * len(centres)
        shape = centres.vectors.shape
        self._sums = torch.zeros(shape, dtype=torch.float64, device="cpu")  # of v, [K, D]
        self._squares = self._sums.new_zeros(len(centres))  # sum of |v|^2, [K]

    def add(self, distances: Tensor, vectors: Tensor | None) -> None:
        """Assign images to their nearest centres, earlier rows first, by their distances [B, K].

        Their `vectors` [B, D] count where this process has them, else in another one.
        """
        for row, cluster in enumerate(distances.argmin(dim=1).tolist()):
            self.size[cluster] += 1
            if self.used[cluster] < self.cap:
                self.used[cluster] += 1
                if vectors is not None:
                    self._accumulate(vectors[row].cpu(), cluster)

    def _accumulate(self, vector: Tensor, cluster: int) -> None:
        """All in float64: `means` subtracts two nearly equal numbers if the images are alike."""
        parts = zip(vector.split(CHUNK), self._sums[cluster].split(CHUNK), strict=True)
        for part, total in parts:
            exact = part.cpu().double()
            total += exact
            self._squares[cluster] += exact.dot(exact)

    def means(self, small: float | None, shares: Shares = ALONE) -> list[float | None]:
        """Mean squared distance over the pairs of each cluster; `small` where there are none."""
        squares = shares.sum(self._squares).tolist()
        return [
            self._mean(n, squares[cluster], shares.sum(self._sums[cluster])) if n > 1 else small
            for cluster, n in enumerate(self.used)
        ]

    def _mean(self, n: int, squares: float, total: Tensor) -> float:
        """(n sum |v|^2 - |sum v|^2) / (n (n - 1) / 2): each pair once, by their sums alone."""
        apart = n * squares - float(total.dot(total))
        return max(apart, 0.0) / (n * (n - 1) / 2)


def _definition(
    features: LpipsFeatures, protocol: Protocol, images: int, seed: int
) -> dict[str, object]:
    rules = _RULES[protocol]
    return {
        "protocol": protocol,
        **features.definition,
        "range": f"[{rules.lowest:g}, 1]",
        "range_of_centres": "[-1, 1]",
        "size": SIZE,
        "resize": "bilinear, antialiased (Pillow)",
        "cap": CAP,
        "order": "shuffled by the seed" if rules.shuffled else "as given",
        "seed": seed if rules.shuffled else None,
        "small_clusters": "dropped" if rules.small is None else f"count as {rules.small:g}",
        "images": images,
    }
