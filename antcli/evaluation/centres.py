"""LPIPS between any number of images and the few target images, a trunk pass for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from antcli.evaluation.checks import TARGET, checked
from antcli.evaluation.lpips import LpipsFeatures
from antcli.images.folder import ImageSource

SIZE = 256
CHUNK = 1 << 16
"""Numbers of a vector worked on at a time, so that they stay in the cache."""
BATCH = 4
"""Images in a trunk pass; more at once do not fit a CPU's cache."""


class Centres:
    """The vectors phi of the target images, to which others are compared."""

    def __init__(self, images: ImageSource, features: LpipsFeatures) -> None:
        """Passes the target images, brought to 256x256, through the trunk one by one.

        Raises `AntError` where it gives NaN or infinity.
        """
        passes = [features(colours(images, [i], -1.0, features)) for i in range(len(images))]
        self.vectors = torch.cat(passes)  # [K, D]
        self.squares = torch.stack([c.dot(c) for c in self.vectors])  # [K]
        checked(self.squares[:, None], TARGET, least=1)

    def __len__(self) -> int:
        """K."""
        return len(self.vectors)

    def products(self, vectors: Tensor) -> Tensor:
        """The products v.c, [B, K]; in parts, as matrices so long and thin are slow whole."""
        whole = vectors.shape[1] // CHUNK * CHUNK
        ours, theirs = (
            v[:, :whole].unflatten(1, (-1, CHUNK)).transpose(0, 1)  # [parts, B or K, CHUNK]
            for v in (vectors, self.vectors)
        )
        rest = vectors[:, whole:] @ self.vectors[:, whole:].T
        return torch.bmm(ours, theirs.mT).sum(0) + rest

    def distances(self, vectors: Tensor, products: Tensor) -> Tensor:
        """LPIPS |v - c|^2, [B, K], of vectors [B, D] from their `products`."""
        # One by one: a product of all rows at once would make a copy of them first.
        own = torch.stack([v.dot(v) for v in vectors])
        return (own[:, None] + self.squares - 2 * products).clamp(min=0)

    @property
    def apart(self) -> Tensor:
        """LPIPS among the target images, [K, K]."""
        return self.distances(self.vectors, self.products(self.vectors)).fill_diagonal_(0)


def lpips_to(
    images: ImageSource,
    centres: Centres,
    features: LpipsFeatures,
    *,
    batch_size: int = BATCH,
    advance: Callable[[int], object] = lambda done: None,
) -> Tensor:
    """LPIPS of each image to each centre, [N, K] on the CPU; all are brought to 256x256."""
    found = torch.empty(len(images), len(centres))
    for rows in torch.arange(len(images)).split(batch_size):
        vectors = features(colours(images, rows.tolist(), -1.0, features))
        found[rows] = centres.distances(vectors, centres.products(vectors)).cpu()
        advance(len(rows))
    return found


def to_evaluation_size(image: Image.Image) -> Tensor:
    """A square RGB image at 256x256, as uint8 [3, 256, 256].

    Bilinear and antialiased: what torchvision's Resize((256, 256)) makes of a PIL image.
    """
    if image.mode != "RGB" or image.width != image.height:
        raise ValueError(f"not a square RGB image: {image.mode}, {image.width}x{image.height}")
    resized = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def colours(
    images: ImageSource, indices: Sequence[int], lowest: float, features: LpipsFeatures
) -> Tensor:
    """The images numbered `indices`, [B, 3, 256, 256] in [lowest, 1], where `features` is."""
    pixels = torch.stack([to_evaluation_size(images[index]) for index in indices])
    return (pixels / 255 * (1 - lowest) + lowest).to(features.device)
