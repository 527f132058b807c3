"""Counterparts: what the source would have drawn in the place of each of the target's images.

A target image that is noised and then denoised by the source (SDEdit, Meng et al. 2022) is an image
of the source's domain that has kept what the noise left: colours, pose, composition. Where the two
hardly differ the image itself is taken back, and joined to the rest by less noise: as much of it
stays as can. Image and counterpart are a pair, and what sets the two apart is what is new in the
target's domain, with the ten people, or whatever the images show, taken out. Two choices of a
method learn from the pairs: the bridged noise and the counterpart's target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from antcli.diffusion.examples import Examples
from antcli.diffusion.path import Path
from antcli.methods.choice import Step
from antcli.settings import Count, settings

REFERENCE_SIDE = 32
"""Of the images for which the levels of noise below hold. In an image of twice the side, twice the
sigma / alpha hides as much (Hoogeboom et al. 2023, section 3.1)."""
COARSE = 4
"""Cells across an image in which its colours as a whole are compared."""
NEW_FROM = 0.3
"""Distance of the images' colours to the source's from which they are new. Of ten of its own images
it is 0, give or take 0.05."""


@dataclass(frozen=True)
class Levels:
    """Noise, as sigma / alpha at `REFERENCE_SIDE`."""

    resampled: float
    """Of a target image, before the source denoises it."""
    limit: float
    """Above which the source predicts alone."""


KEPT = Levels(resampled=2.03, limit=3.42)
"""0.4 and 0.5 T of Ho et al.'s betas: an object, a face, lines change, colours stay."""
JOINED = 0.97
"""0.25 T: hides seams, and no more."""
CHANGED = 0.5
"""Share of the largest difference between an image and its resampling from which a place counts."""
NEW = Levels(resampled=60.3, limit=60.3)
"""0.9 T: where the colours as a whole are not the source's, little of an image is kept."""


@settings
class CounterpartSettings:
    """The source's counterparts of the target's images."""

    draws: Count = 16
    """Of each image."""
    steps: Count = 12
    """Of denoising one."""
    colours: Literal["auto", "kept", "new"] = "auto"
    """Whether the target's colours as a whole are the source's (an object is put on, a face
    changes) or new (a pencil, a palette). `auto` reads it off the images."""


@dataclass(frozen=True)
class Counterparts:
    """All counterparts, on the device: draw k of image i is example i * draws + k."""

    examples: Examples
    draws: int
    t_limit: float
    """Share of the path above which the source predicts alone."""
    bridge: float
    """alpha / sigma at the limit."""
    new_colours: bool

    def of(self, step: Step) -> Tensor:
        """A counterpart x'_0 of each image of a step, drawn by its chance, changed as it was."""
        draw = (step.chance[:, 0] * self.draws).long()
        drawn = self.examples.take(step.images * self.draws + draw, step.mirrored)
        return step.alike(drawn.to(step.x_0))


def joined(x_0: Tensor, resampled: Tensor) -> Tensor:
    """Images, [B, C, H, W], with their resampling only where the two differ most, and around it."""
    reach = max(1, x_0.shape[-1] // REFERENCE_SIDE)
    window = 2 * reach + 1
    apart = (resampled - x_0).abs().amax(1, keepdim=True)
    apart = functional.avg_pool2d(apart, window, 1, reach, count_include_pad=False)
    changed = (apart >= CHANGED * apart.amax((2, 3), keepdim=True)).to(x_0)
    return torch.lerp(x_0, resampled, functional.max_pool2d(changed, window, 1, reach))


def levels(new_colours: bool, path: Path, side: int) -> tuple[float, float]:
    """Shares of the path, for x_0 of `side`: to noise images to, and to adapt below."""
    chosen, scale = NEW if new_colours else KEPT, side / REFERENCE_SIDE
    return path.share_where(chosen.resampled * scale), path.share_where(chosen.limit * scale)


def colour_distance(images: Tensor, own: Tensor) -> float:
    """How far images as a whole are from a source's own in their colours; uint8 [N, 3, H, W] both.

    Energy distance (Szekely and Rizzo 2013), unbiased, of the means over `COARSE`^2 cells, each in
    units of its spread over the source's images, as a share of the distance between two of these.
    One image alone is taken to be of a domain as wide as the source's.
    """
    a, b = (functional.adaptive_avg_pool2d(x.float(), COARSE).flatten(1) for x in (images, own))
    spread = b.std(0)
    unit = spread.clamp(min=float(spread.mean()) / 10)
    a, b = a / unit, b / unit
    within = torch.pdist(b).mean()
    within_images = torch.pdist(a).mean() if len(a) > 1 else within
    return float((2 * torch.cdist(a, b).mean() - within_images - within) / within)
