"""What is told of a source's own samples, and where there is nothing to tell."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from antcli.evaluation.dimension import intrinsic_dimension
from antcli.sources.source import find_source
from antcli.training.source_dimension import MOST_SIDE, SourceDimension, source_dimension


def images(count: int, side: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, side, side), generator=draw, dtype=torch.uint8)


def test_it_is_that_of_the_samples_pixels() -> None:
    drawn = images(30, 8)
    [found] = source_dimension(find_source("avatars"), drawn)
    assert found == SourceDimension(intrinsic_dimension(drawn.flatten(1).float()), 80_000)


def test_large_samples_are_averaged_down() -> None:
    drawn = images(22, 4 * MOST_SIDE)
    [found] = source_dimension(find_source("avatars"), drawn)
    small = functional.avg_pool2d(drawn.float(), 4).flatten(1)
    torch.testing.assert_close(found.dimension.by_k, intrinsic_dimension(small).by_k)


def test_of_too_few_samples_nothing_is_told() -> None:
    source = find_source("avatars")
    assert list(source_dimension(source, images(20, 8))) == []
    assert list(source_dimension(source, images(1, 8).repeat(64, 1, 1, 1))) == []
