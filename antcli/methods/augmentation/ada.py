"""Images that are moved, bent and tinted, and a network that is told how: it need not draw such.

ADA (Karras et al. 2020, arXiv 2006.06676) augments what a discriminator sees, with a probability
that follows its overfitting. A diffusion model has none, so here the probability is fixed; and that
augmented images do not leak into samples is the work of a label, as in Karras et al. 2022 (EDM,
arXiv 2206.00364, appendix F.2), whose probability and strengths these are. The label holds the
parameters themselves, so it is zero where nothing was changed, and zero when samples are drawn.
Mirror images are not told of: a sample may well be one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from antcli.methods.choice import Augmentation, Choice
from antcli.settings import Chance, settings

OCTAVE = math.log(2)
SCALE = 0.2
"""Standard deviation of the scale, and of its anisotropy, in octaves."""
SHIFT = 0.125
"""Of a shift, as a share of the side."""
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
"""Of an addition to all channels, in units of [-1, 1]; of factors, in octaves."""
GEOMETRY, COLOUR = 8, 6
"""Numbers of a label that are about either."""


@settings
class AugmentationSettings:
    """How often images are augmented."""

    geometry: Chance = 0.12
    """Probability of each: upside down, scaled, rotated, stretched one way, shifted."""
    colour: Chance = 0.12
    """Probability of each: brighter, with more contrast, with inverted grey, of other hues, of more
    colour; or less."""


@dataclass(frozen=True)
class Ada(Augmentation):
    """Label: upside down; octaves; cos - 1 and sin of the angle; a traceless stretch, 2; shift, 2;
    brightness; contrast; grey inverted; cos - 1 and sin of the hue; saturation.
    """

    config: AugmentationSettings
    size = GEOMETRY + COLOUR

    def draw(self, count: int, draw: torch.Generator) -> Tensor:
        """Labels [count, 14] on the CPU. Parameters are in units of their standard deviations."""
        normal = torch.randn(count, 8, generator=draw)
        flipped = (torch.rand(count, 2, generator=draw) < 0.5).float()
        angle = 2 * math.pi * torch.rand(count, 2, generator=draw)
        turned = torch.stack([angle.cos() - 1, angle.sin()], 2)
        parts = [flipped[:, :1], normal[:, :1], turned[:, 0], normal[:, 1:3] / math.sqrt(2)]
        parts += [normal[:, 3:5], normal[:, 5:6], normal[:, 6:7], flipped[:, 1:]]
        parts += [turned[:, 1], normal[:, 7:]]
        chances = [self.config.geometry] * 5 + [self.config.colour] * 5
        happens = torch.rand(count, len(parts), generator=draw) < torch.tensor(chances)
        return torch.cat([part * happens[:, i : i + 1] for i, part in enumerate(parts)], 1)

    def change(self, images: Tensor, label: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1], changed as labels say; colours may leave [-1, 1]."""
        # Half precision knows no places within a pixel, and may be on where a rule is asked.
        with torch.autocast(images.device.type, enabled=False):
            return recoloured(moved(images, label[:, :GEOMETRY]), label[:, GEOMETRY:])


def moved(images: Tensor, label: Tensor) -> Tensor:
    """The geometry of a label [B, 8]; what comes in at the edges is the mirror image."""
    flip, octaves, cos, sin, along, across, right, down = label.unbind(1)
    cos = 1 + cos
    # The stretch is the exponential of the symmetric, traceless matrix of `along` and `across`.
    length = (along.square() + across.square()).sqrt().clamp(min=1e-12)
    even = (SCALE * OCTAVE * length).cosh()
    odd = (SCALE * OCTAVE * length).sinh() / length
    stretch = _matrix(even + odd * along, odd * across, odd * across, even - odd * along)
    rotation = _matrix(cos, -sin, sin, cos)
    flipping = _matrix(torch.ones_like(flip), 0 * flip, 0 * flip, 1 - 2 * flip)
    scale = (SCALE * OCTAVE * octaves).exp()[:, None, None]
    there = scale * (rotation @ stretch @ flipping)
    # Where a pixel comes from: coordinates run from -1 to 1, so a side is 2.
    back = _inverse(there)
    shift = 2 * SHIFT * torch.stack([right, down], 1)[:, :, None]
    grid = functional.affine_grid(
        torch.cat([back, -back @ shift], 2), list(images.shape), align_corners=False
    )
    found = functional.grid_sample(
        images, grid.to(images), padding_mode="reflection", align_corners=False
    )
    untouched = (label == 0).all(1).view(-1, 1, 1, 1)
    return torch.where(untouched, images, found)


def recoloured(images: Tensor, label: Tensor) -> Tensor:
    """The colours of a label [B, 6]: a pixel's grey and what it has beside it are changed apart."""
    brightness, contrast, inverted, cos, sin, saturation = label[:, :, None, None, None].unbind(1)
    factor = (CONTRAST * OCTAVE * contrast).exp()
    grey = images.mean(1, keepdim=True)
    colour = images - grey
    grey = (1 - 2 * inverted) * factor * (grey + BRIGHTNESS * brightness)
    # Rodrigues' rotation around the axis of greys, on which `colour` is perpendicular.
    turned = (colour.roll(1, 1) - colour.roll(-1, 1)) / math.sqrt(3)
    colour = factor * (SATURATION * OCTAVE * saturation).exp() * ((1 + cos) * colour + sin * turned)
    untouched = (label == 0).all(1).view(-1, 1, 1, 1)
    return torch.where(untouched, images, grey + colour)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([torch.stack([a, b], 1), torch.stack([c, d], 1)], 1)


def _inverse(m: Tensor) -> Tensor:
    a, b, c, d = m[:, 0, 0], m[:, 0, 1], m[:, 1, 0], m[:, 1, 1]
    return _matrix(d, -b, -c, a) / (a * d - b * c)[:, None, None]


CHOICE = Choice(
    "images moved, bent and tinted by chance, of which the network is told (ADA, EDM)",
    lambda settings, prepared: Ada(settings),
    tables={"augmentation": AugmentationSettings},
    of_pixels=True,
)
