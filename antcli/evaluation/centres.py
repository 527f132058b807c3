"""LPIPS between any number of images and the few target images, a trunk pass for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from antcli.evaluation.checks import TARGET, check_finite
from antcli.evaluation.lpips import LpipsFeatures
from antcli.images.folder import ImageSource
from antcli.processes import ALONE, Shares

SIZE = 256
CHUNK = 1 << 16
"""Numbers of a vector worked on at a time: they stay in the cache, and their sum stays exact."""
BATCH = 4
"""Images in a trunk pass; more at once do not fit a CPU's cache."""
ACCURACY = 4e-4
"""The largest relative error of a distance that comes from products: a bound, usually far off."""
NEAR = CHUNK**0.5 * torch.finfo(torch.float32).eps / 2 / ACCURACY
"""Of |v|^2 + |c|^2: below, products cannot be that accurate. Those of n float32 numbers are off by
n^0.5 eps / 2 (N. Higham and T. Mary, SIAM J. Sci. Comput. 41(5), 2019)."""


class Centres:
    """The vectors phi of the target images, to which others are compared."""

    def __init__(self, images: ImageSource, features: LpipsFeatures) -> None:
        """Passes the target images, brought to 256x256, through the trunk one by one.

        Raises `AntError` where it gives NaN or infinity.
        """
        passes = [features(colours(images, [i], -1.0, features)) for i in range(len(images))]
        self.vectors = torch.cat(passes)  # [K, D]
        check_finite(self.vectors, TARGET)

    def __len__(self) -> int:
        """K."""
        return len(self.vectors)

    def distances(self, vectors: Tensor) -> Tensor:
        """LPIPS |v - c|^2 of vectors [B, D], as [B, K] in float64 on the CPU.

        |v|^2 + |c|^2 - 2 v.c reads every centre once for all rows. What is nearly equal cancels
        in it, so pairs that are near, the copies among them, are subtracted before they are
        squared: no device needs float64 for that, and one of Apple's has none.
        """
        sizes = _squares(vectors)[:, None] + self._squares
        products = zip(vectors.split(CHUNK, 1), self.vectors.split(CHUNK, 1), strict=True)
        found = sizes - 2 * _exact_sum([v @ c.T for v, c in products])
        for row, centre in (found < NEAR * sizes).nonzero().tolist():
            found[row, centre] = (vectors[row] - self.vectors[centre]).square_().sum().cpu()
        return found

    @cached_property
    def apart(self) -> Tensor:
        """LPIPS among the target images, [K, K] in float64 on the CPU."""
        return self.distances(self.vectors)

    @cached_property
    def _squares(self) -> Tensor:
        return _squares(self.vectors)


def _squares(vectors: Tensor) -> Tensor:
    """|v|^2 of each row, float64 on the CPU."""
    return _exact_sum([torch.linalg.vector_norm(v, dim=1) ** 2 for v in vectors.split(CHUNK, 1)])


def _exact_sum(parts: Sequence[Tensor]) -> Tensor:
    """What parts of a vector contributed, together; float64 on the CPU."""
    return torch.stack([*parts]).cpu().double().sum(0)


def lpips_to(
    images: ImageSource,
    centres: Centres,
    features: LpipsFeatures,
    *,
    batch_size: int = BATCH,
    advance: Callable[[int], object] = lambda done: None,
    shares: Shares = ALONE,
) -> Tensor:
    """LPIPS of each image to each centre, [N, K] on the CPU; all are brought to 256x256.

    Several processes divide the batches.
    """

    def of(numbers: list[int]) -> Tensor:
        vectors = features(colours(images, numbers, -1.0, features))
        return centres.distances(vectors).float()

    return shares.rows(len(images), batch_size, of, advance)


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
