"""In how many directions a source's own images vary, where a stage has drawn some anyway."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from antcli.evaluation.dimension import NEIGHBOURS, IntrinsicDimension, intrinsic_dimension
from antcli.sources.catalog import catalog
from antcli.sources.source import Source

MOST_SIDE = 64
"""In pixels; larger images are averaged down, so that this costs next to nothing."""


@dataclass(frozen=True)
class SourceDimension:
    """The intrinsic dimension of a source's samples, and what it was trained on."""

    dimension: IntrinsicDimension
    source_images: int | None
    """In the data set that it was trained on; None: not known."""


def source_dimension(source: Source, images: Tensor) -> Iterator[SourceDimension]:
    """Of its samples, uint8 [N, 3, H, W], as pixels; nothing where these are too few to tell."""
    side = min(MOST_SIDE, images.shape[-1])
    rows = functional.adaptive_avg_pool2d(images.float(), side).flatten(1)
    if len(rows.unique(dim=0)) <= NEIGHBOURS[-1]:
        return
    entry = catalog().get(source.name)
    known = None if entry is None else entry.images
    yield SourceDimension(intrinsic_dimension(rows), known)
