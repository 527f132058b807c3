"""What a feature space is, and passing any number of images through one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from antcli.images.folder import ImageSource
from antcli.processes import ALONE, Shares

BATCH = 8


class FeatureSpace(Protocol):
    """A network that gives each image a vector, and all that names it."""

    @property
    def label(self) -> str:
        """Names the space and, by hashes, its weights: equal labels, comparable numbers."""
        ...

    @property
    def dimension(self) -> int:
        """D. A covariance in D dimensions wants well more than D images."""
        ...

    @property
    def definition(self) -> dict[str, object]:
        """How the features are made, for whoever wants to make them again; plain values."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Features [B, D], float32, of images uint8 [B, 3, H, W], resized as the space says.

        They do not depend on the other images of the batch, but for rounding.
        """
        ...


def extract(
    space: FeatureSpace,
    images: ImageSource,
    *,
    batch_size: int = BATCH,
    advance: Callable[[int], object] = lambda done: None,
    shares: Shares = ALONE,
) -> Tensor:
    """Features [N, D] of all `images`, in their order, float32 on the CPU.

    No more than `batch_size` images are in memory at a time; their sizes may differ. `advance`
    is called with the size of each batch that is done. Several processes divide the batches.
    """

    def of(numbers: list[int]) -> Tensor:
        batch = [_pixels(images[i]) for i in numbers]
        alike = (torch.stack(list(same)) for _, same in groupby(batch, lambda x: x.shape))
        return torch.cat([space(x).cpu() for x in alike])

    if not len(images):
        return torch.empty(0, space.dimension)
    return shares.rows(len(images), batch_size, of, advance)


def _pixels(image: Image.Image) -> Tensor:
    """An RGB image as uint8 [3, H, W]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
