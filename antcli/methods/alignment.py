"""Alignment: where what is new in one image belongs in another.

Faces are framed alike and yet not at one place: glasses that are put where they were lie beside the
eyes. So what is new is moved by as much as makes the contrasts of what the source drew in its place
lie on those of the other image (template matching by normalised correlation, Lewis 1995). A frame
around each image does not go with what is inside: whether something does is seen in the images
themselves.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from antcli.methods.places import features

FARTHEST = 8
"""Of so many parts of a side one is the farthest that anything is moved, each way."""


def contrasts(images: Tensor, of_each: int = 1) -> Tensor:
    """Of images [N * of_each, 3, H, W], the mean contrast around each place of those of each:
    [N, rows, columns]. What only some of the draws have is faint.
    """
    return features(images)[:, 3].unflatten(0, (-1, of_each)).mean(1)


def offsets(of: Tensor, others: Tensor) -> Tensor:
    """How far down and to the right each is to be moved to lie as each of `others`: [N, M, 2].

    In places, of contrasts [N, rows, columns] and [M, rows, columns]. Nowhere, where all ways are
    as good.
    """
    down, right = (range(-(side // FARTHEST), side // FARTHEST + 1) for side in of.shape[-2:])
    ways = sorted(itertools.product(down, right), key=lambda way: way[0] ** 2 + way[1] ** 2)
    alike = [_standard(_cut(of, way)) @ _standard(_cut(others, way, -1)).T for way in ways]
    # To four places: what is nearer by rounding alone shall not be moved farther.
    return torch.tensor(ways)[torch.stack(alike).round(decimals=4).argmax(0)]


def _cut(x: Tensor, way: tuple[int, int], sign: int = 1) -> Tensor:
    """Without the rows and columns that have none on the other side once it is moved."""
    for axis, far in zip((-2, -1), way, strict=True):
        size = x.shape[axis] - abs(far)
        x = x.narrow(axis, max(0, -sign * far), size)
    return x.flatten(1)


def _standard(x: Tensor) -> Tensor:
    """Of mean 0 and length 1, each."""
    return functional.normalize(x - x.mean(1, keepdim=True), dim=1)


def shifted(x: Tensor, by: Tensor) -> Tensor:
    """Each of x [B, C, H, W] moved `by` so many pixels down and to the right, [B, 2]; its edges go
    on as they are.
    """
    height, width = x.shape[-2:]
    down, right = by.unbind(1)
    row = (torch.arange(height, device=x.device) - down[:, None]).clamp(0, height - 1)
    column = (torch.arange(width, device=x.device) - right[:, None]).clamp(0, width - 1)
    place = (row[:, :, None] * width + column[:, None]).flatten(1)
    return x.flatten(2).gather(2, place[:, None].expand(-1, x.shape[1], -1)).view_as(x)


def alignment(drawn: Tensor, new: Tensor, others: Tensor) -> Tensor:
    """By how many pixels what is new in each image is moved on each of `others`: [N, M, 2].

    `drawn` is what the source drew in the place of the images, uint8 [N * K, 3, H, W], as many of
    each; `new` how much of each pixel is new, [N, 1, H, W]. Nothing is moved where that does not go
    with what it lies on: where of the pairs of images more are less alike once it is moved.
    """
    own = contrasts(drawn, len(drawn) // len(new))
    pixels = max(new.shape[-2:]) / max(own.shape[-2:])
    by = (offsets(own, contrasts(others)) * pixels).round().long()
    return by if goes_along(new, (offsets(own, own) * pixels).round().long()) else by * 0


def goes_along(new: Tensor, by: Tensor) -> bool:
    """Whether what is new, [N, 1, H, W], is where something else is that lies `by`, [N, N, 2], so
    many pixels elsewhere in others.
    """
    one, other = torch.triu_indices(len(new), len(new), 1)
    still = _overlap(new[one], new[other])
    along = _overlap(shifted(new[one], by[one, other]), new[other])
    return bool((along > still).sum() >= (along < still).sum())


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Of what is in either the share that is in both."""
    both, either = a.minimum(b).flatten(1).sum(1), a.maximum(b).flatten(1).sum(1)
    return both / either.clamp(min=1e-6)
