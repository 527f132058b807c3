"""Counterparts: what the source would have drawn in the place of each of the target's images.

A target image that is noised and then denoised by the source (SDEdit, Meng et al. 2022) is an image
of the source's domain that has kept what the noise left: colours, pose, composition. Where the
domain is not new the image stays as it is, at every step on the way (RePaint, Lugmayr et al. 2022).
Image and counterpart are a pair, and what sets the two apart is what is new in the target's domain,
with the ten people, or whatever the images show, taken out. Two choices of a method learn from the
pairs: the bridged noise and the counterpart's target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

from antcli.diffusion.examples import Examples
from antcli.diffusion.path import Path
from antcli.methods.choice import Step
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
    closely: bool = False
    """Whether what is almost new counts as well, and then of each image what changed in it."""


COLOURS, SETTLED = 6.1, 60.3
"""0.6 and 0.9 T of Ho et al.'s betas. Where it takes more noise than the first to hide a domain,
its colours as a whole are new, and these are settled up to the second."""
LADDER = (
    Rung(3.42, 3.42, 1, closely=True),
    Rung(COLOURS, 3.42, 4),
    Rung(3.42, 3.42, None),
    Rung(COLOURS, COLOURS, None),
    Rung(11.9, SETTLED, None),
    Rung(25.5, SETTLED, None),
    Rung(SETTLED, SETTLED, None),
)
"""From 0.5 T, in order of what they leave of an image."""
PART = (0.01, 0.4)
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


@dataclass(frozen=True)
class Counterparts:
    """All counterparts, on the device: draw k of image i is example i * draws + k."""

    examples: Examples
    draws: int
    t_limit: float
    """Share of the path above which the source predicts alone."""
    bridge: float
    """alpha / sigma at the limit."""

    def of(self, step: Step) -> Tensor:
        """A counterpart x'_0 of each image of a step, drawn by its chance, changed as it was."""
        draw = (step.chance[:, 0] * self.draws).long()
        drawn = self.examples.take(step.images * self.draws + draw, step.mirrored)
        return step.alike(drawn.to(step.x_0))


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
