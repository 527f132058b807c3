"""Counterparts: what the source would have drawn in the place of each of the target's images.

A target image that is noised and then denoised by the source (SDEdit, Meng et al. 2022) is an image
of the source's domain that has kept what the noise left: colours, pose, composition. Where the
domain is not new the image stays as it is, at every step on the way (RePaint, Lugmayr et al. 2022).
Image and counterpart are a pair, and what sets the two apart is what is new in the target's domain,
with the ten people, or whatever the images show, taken out. Two choices of a method learn from the
pairs: the bridged noise and the counterpart's target. What is new in places may be put on others of
the source's images, and these are pairs as well (`transplants.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

import torch
from annotated_types import Ge, Le
from torch import Tensor

from antcli.diffusion.examples import Examples, moved
from antcli.diffusion.path import Path
from antcli.methods.transplants import Transplants, is_bound
from antcli.settings import Count, settings

REFERENCE_SIDE = 32
"""Of the images for which the levels of noise below hold. In an image of twice the side, twice the
sigma / alpha hides as much (Hoogeboom et al. 2023, section 3.1)."""


@dataclass(frozen=True)
class Rung:
    """A way to draw counterparts. Noise is sigma / alpha at `REFERENCE_SIDE`."""

    noise: float
    """Of an image, before the source denoises it."""
    limit: float
    """Above which the source predicts alone."""
    reach: int | None
    """Places around those that are new in which an image is drawn anew; None: all of it is."""
    closely: float = 0.0
    """Above 0: what is almost new counts as well, and then of each image what changed in it. That
    has to be all that is new: put on the source's images it leaves no more than this share of the
    new places new."""


COLOURS, SETTLED = 6.1, 60.3
"""0.6 and 0.9 T of Ho et al.'s betas. Where it takes more noise than the first to hide a domain,
its colours as a whole are new, and these are settled up to the second."""
LADDER = (
    Rung(3.42, 3.42, 1, closely=0.2),
    Rung(COLOURS, 3.42, 1, closely=0.06),
    Rung(COLOURS, 3.42, 4),
    Rung(3.42, 3.42, None),
    Rung(COLOURS, COLOURS, None),
    Rung(11.9, SETTLED, None),
    Rung(25.5, SETTLED, None),
    Rung(SETTLED, SETTLED, None),
)
"""From 0.5 T, in order of what they leave of an image. Of a baby's head the first would find
pieces. Aliens, whose hair has to go, are nearer by the third than by the second, which leaves .07
of their new places new, where pirates have .01 (benchmarks/LOG.md)."""
PART = (0.01, 0.5)
"""Share of an image's places, from and to, that may be new for the rest to stay as it is."""
PASSED, CHANCE = 0.1, 0.975
"""Counterparts are the source's own where, of the places that were drawn anew, no more than this
share differ from its images more than this share of places do by chance."""


FULL, LEAST = 20, 2
"""Images of which each has all its draws; of more there are no more counterparts in all, but for
`LEAST` of each: fifty images are no reason to wait five times as long."""


@settings
class CounterpartSettings:
    """The source's counterparts of the target's images."""

    draws: Count = 16
    """Of each image; of many images fewer, as `draws_of_each` says."""
    steps: Count = 12
    """Of denoising one."""
    noise: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the path up to which images are noised, all of each of them drawn anew. 0: as much
    as it takes for the source to draw nothing new, read off the images, and there alone where the
    domain is new."""
    transplants: bool = True
    """Whether what is new in a few places is learnt on other images of the source, too."""
    apart: bool = True
    """Whether then each image is a condition of its own, so that a sample has what is new of one of
    them. Not of more than 20 images, of latents, where conditions are numbers, where what is new
    has the colour of something beside it, or with penalties on the source's own samples."""


@dataclass(frozen=True)
class Counterparts:
    """All counterparts, on the device: draw k of image i is example i * draws + k."""

    examples: Examples
    draws: int
    t_limit: float
    """Share of the path above which the source predicts alone."""
    bridge: float
    """alpha / sigma at the limit."""
    transplants: Transplants | None = None
    """What is new in places, and what it may be put on."""

    @property
    def in_places(self) -> bool:
        """Whether of all images it is known to the pixel what is new in them, and that is learnt
        on others.
        """
        put = self.transplants
        return put is not None and put.of_all and put.worn is None

    @property
    def unbound(self) -> bool:
        """Whether besides what is new in one image might as well be in any other."""
        return self.in_places and not is_bound(cast(Transplants, self.transplants).fitting)

    def pairs(
        self, x_0: Tensor, images: Tensor, mirrored: Tensor, t: Tensor, chance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """x_0 [B, C, H, W] of some images, or what is new in them on others; and x'_0 of each; and
        how much of each place is the same in both, [B, 1, H, W], where that is known of all images.

        `images`, `mirrored`, `t`, [B], and `chance` in [0, 1), [B, 2], are on the CPU. The first
        chance says which of the draws is taken, the second which other image.
        """
        draw = (chance[:, 0] * self.draws).long()
        there = self.examples.x_0.device
        of = moved(images * self.draws + draw, there)
        drawn = self.examples.take(of, moved(mirrored, there)).to(x_0)
        if self.transplants is None:
            return x_0, drawn, None
        worn, hosts, new, put = self.transplants.put(x_0, images, mirrored, t, chance[:, 1])
        x_0, drawn = torch.where(put, worn, x_0), torch.where(put, hosts, drawn)
        return x_0, drawn, 1 - new if self.transplants.of_all else None


def draws_of_each(settings: CounterpartSettings, images: int) -> int:
    """Draws of each of so many images: of up to twenty as many as are asked for."""
    return min(settings.draws, max(LEAST, FULL * settings.draws // images))


def shares(rung: Rung, path: Path, side: int) -> tuple[float, float]:
    """Shares of the path, for x_0 of `side`: to noise images to, and to adapt below."""
    scale = side / REFERENCE_SIDE
    return path.share_where(rung.noise * scale), path.share_where(rung.limit * scale)


def asked_for(noise: float, path: Path, side: int) -> tuple[float, float]:
    """The same shares where the first is said: all of an image is drawn anew."""
    scale = side / REFERENCE_SIDE
    kept = noise <= path.share_where(COLOURS * scale)
    return noise, noise if kept else max(noise, path.share_where(SETTLED * scale))
