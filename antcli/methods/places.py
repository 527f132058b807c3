"""Where a domain is new: place by place, do a few images look as those of the source do there?

Of each place of an image four numbers are compared, the colours around it and their contrast, by
energy distance (Szekely and Rizzo 2013). Glasses differ where glasses are, a pencil everywhere.
What is no more than as many images of the source differ from the rest by chance is no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from antcli.randomness import generator

CELLS = 32
"""Places across an image."""
GROUPS = 100
"""Of the source's own images, which say what chance does."""
NEW, ALMOST = 0.995, 0.95
"""A place is new where it differs more than this share of all places of the source's own do; beside
a new one, where it differs more than the second share."""
CHANGED, LARGEST = 0.5, 0.99
"""Of the largest difference of an image to what the source drew in its place more than the first
share is a change; the largest is larger than the second share of all."""
PLAIN = 0.5
"""Share of the mean spread of a number that is added to its own: a place that never changes."""


def features(images: Tensor) -> Tensor:
    """Of images [N, 3, H, W], the colours and the contrast around each place: [N, 4, CELLS, CELLS].

    Fewer places where the images are smaller.
    """
    x = images.float()
    across = functional.pad((x[..., 1:] - x[..., :-1]).abs(), (0, 1))
    down = functional.pad((x[..., 1:, :] - x[..., :-1, :]).abs(), (0, 0, 0, 1))
    contrast = across.amax(1, keepdim=True) + down.amax(1, keepdim=True)
    found = cells(torch.cat([x, contrast], 1))
    return functional.avg_pool2d(functional.pad(found, (1, 1, 1, 1), mode="replicate"), 3, 1)


def cells(x: Tensor) -> Tensor:
    """Means of x [N, C, H, W] over each place, [N, C, CELLS, CELLS]; no more than it has pixels."""
    height, width = x.shape[-2:]
    return functional.adaptive_avg_pool2d(x, (min(CELLS, height), min(CELLS, width)))


@dataclass(frozen=True)
class Places:
    """The source's own images, as others are compared with them."""

    own: Tensor
    """[places, N, 4], in units of their spread."""
    unit: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, own: Tensor) -> Places:
        """Of images of the source, uint8 [N, 3, H, W], at least three."""
        found = features(own)
        spread = found.std(0)
        unit = spread + PLAIN * spread.mean((1, 2), keepdim=True) + 1e-6
        height, width = found.shape[-2:]
        return cls(by_place(found / unit), unit, (height, width))

    def distances(self, images: Tensor) -> Tensor:
        """Energy distance of images, uint8 [N, 3, H, W], at each place, unbiased: [rows, columns].

        As a share of the distance of two of the source's own. One image alone is taken to be of a
        domain as wide as the source's.
        """
        a = by_place(features(images) / self.unit)
        within = _within(self._own_apart)
        between = _apart(a, self.own).mean((1, 2))
        own = within if a.shape[1] == 1 else _within(_apart(a, a))
        return _energy(between, own, within).view(self.shape)

    def new(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Where images are new, and that with what is almost new and joins it: [rows, columns].

        By two thresholds, as the edges of Canny (1986): of three beards in ten faces the jaw is
        not as sure as the chin.
        """
        far, count = self.distances(images), len(images)
        new, almost = far > self.by_chance(count), far > self.by_chance(count, ALMOST)
        return new, joined(new, almost | new)

    def by_chance(self, count: int, share: float = NEW) -> float:
        """Below it are this share of the places of groups of `count` of the source's own images."""
        apart = self._own_apart
        total = apart.shape[-1]
        count = min(count, total // 2)
        orders = [torch.randperm(total, generator=generator(i, "places")) for i in range(GROUPS)]
        chosen = torch.zeros(total, GROUPS)
        for group, order in enumerate(orders):
            chosen[order[:count], group] = 1
        # Sums over pairs of distances: of a chosen one and one of the rest, and so on.
        of_chosen = apart @ chosen
        all_pairs, with_chosen = apart.sum((1, 2)), of_chosen.sum(1)
        both = (of_chosen * chosen).sum(1)
        rest = total - count
        between = (with_chosen - both) / (count * rest)
        within = (all_pairs[:, None] - 2 * with_chosen + both) / (rest * (rest - 1))
        own = within if count == 1 else both / (count * (count - 1))
        return float(_energy(between, own, within).quantile(share))

    @cached_property
    def _own_apart(self) -> Tensor:
        """Which all comparisons ask for."""
        return _apart(self.own, self.own)


def _energy(between: Tensor, own: Tensor, within: Tensor) -> Tensor:
    """Energy distance from mean distances, as a share of that within the source."""
    return (2 * between - own - within) / within.clamp(min=1e-6)


def by_place(found: Tensor) -> Tensor:
    """[N, C, rows, columns] as [places, N, C]."""
    return found.permute(2, 3, 0, 1).flatten(0, 1)


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """All distances, [places, N, M]."""
    # By products, as many are computed otherwise, what is equal is apart by a thousandth.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _within(apart: Tensor) -> Tensor:
    """Mean distance of two different ones, of all distances [places, N, N]."""
    count = apart.shape[-1]
    return apart.sum((1, 2)) / (count * (count - 1))


def joined(new: Tensor, almost: Tensor) -> Tensor:
    """Those of `almost` that a way within it joins to `new`."""
    while True:
        more = (functional.max_pool2d(new.float()[None], 3, 1, 1)[0] > 0) & almost
        if torch.equal(more, new):
            return new
        new = more


def changes(images: Tensor, drawn: Tensor, among: Tensor) -> Tensor:
    """Where each of images differs in colour from what was drawn in its place: [N, rows, columns].

    `images` are uint8 [N, 3, H, W], `drawn` so many draws of each, one after the other; `among` are
    the places that may differ, [rows, columns], of all or of each. Where else the domain is new in
    other images this one stays as it is.
    """
    colours = features(images)[:, :3]
    draws = features(drawn)[:, :3].unflatten(0, (len(images), -1))
    off = (colours - draws.median(1).values).norm(dim=1)
    largest = off.flatten(1).quantile(LARGEST, 1).view(-1, 1, 1)
    return (off > CHANGED * largest) & among


def around(new: Tensor, reach: int, size: tuple[int, int]) -> Tensor:
    """How much of each place of an image of `size` is drawn anew, in [0, 1]: [N, 1, H, W].

    `new` are the places that are, [N, rows, columns]. With a reach of one place all around; of
    more, a rim in which the old turns into the new.
    """
    wide = functional.max_pool2d(new.float()[:, None], 2 * reach + 1, 1, reach)
    if reach > 1:
        rim = functional.pad(wide, (2, 2, 2, 2), mode="replicate")
        wide = functional.avg_pool2d(rim, 5, 1)
    return functional.interpolate(wide, size, mode="bilinear", align_corners=False)
