"""Structure: how the places of an image resemble one another, and those of other images, stays.

RSSA (Xiao et al., CVPR 2022, arXiv 2203.04121): a loss of GANs, carried to diffusion; its
projection of the latent space has no counterpart here. What a generator makes of the same z is here
what the network makes of the same x_t and t, in its mid block and on its way up. Places are
compared within windows that lie side by side, as in its code. The paper's distance is smooth L1,
its code's is L1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from antcli.methods.choice import Choice, Rule, Step
from antcli.settings import Count, NonNegative, settings


@settings
class SelfSimilaritySettings:
    """Of the structural penalty."""

    window: Count = 16
    """Side of a window, in the places of a map."""
    within: NonNegative = 0.8
    """Weight of the similarities within an image."""
    across: NonNegative = 0.4
    """Weight of those to the other images of the batch."""


LARGEST = 64
"""Places across a map; a larger one is averaged down to so many."""


def windows(maps: Tensor, side: int) -> Tensor:
    """Directions at the places of each window: [B, C, H, W] to [B, windows, places, C].

    What is left over at the right and at the bottom is left out.
    """
    if max(maps.shape[-2:]) > LARGEST:
        maps = functional.adaptive_avg_pool2d(maps, LARGEST)
    side = min(side, *maps.shape[-2:])
    directions = functional.normalize(maps, dim=1)
    cut = functional.unfold(directions, side, stride=side)
    return cut.unflatten(1, (maps.shape[1], side * side)).permute(0, 3, 2, 1)


def within(maps: Tensor) -> Tensor:
    """Cosines of the places of each window, [..., places, places]."""
    return maps @ maps.mT


def across(maps: Tensor) -> Tensor:
    """Of each pair of images: softmax over the other's places of the cosines to them."""
    one, other = maps[torch.triu_indices(len(maps), len(maps), 1, device=maps.device)]
    return (one @ other.mT).softmax(-1)


class SelfSimilarityPenalty(Rule):
    """Mean over the maps of smooth L1 distances between the adapted and the source's."""

    sees_maps = True

    def __init__(self, config: SelfSimilaritySettings) -> None:
        self.config = config

    def __call__(self, step: Step) -> Tensor:
        """One number. Distances across images are summed over the places of a window, as theirs."""
        terms = []
        for pair in zip(*step.seen, strict=True):
            adapted, source = (windows(maps, self.config.window) for maps in pair)
            term = self.config.within * functional.smooth_l1_loss(within(adapted), within(source))
            if len(adapted) > 1:
                distance = functional.smooth_l1_loss(across(adapted), across(source))
                term = term + self.config.across * adapted.shape[2] * distance
            terms.append(term)
        return torch.stack(terms).mean()


CHOICE = Choice(
    "how places resemble one another, within an image and across (RSSA, a loss of GANs)",
    lambda settings, prepared: SelfSimilarityPenalty(settings),
    tables={"self_similarity": SelfSimilaritySettings},
    asks_source=True,
    compares=True,
    couples=2,
)
