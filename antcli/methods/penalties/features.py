"""Distances between the images of a batch stay, in the network's own maps (CDC, Ojha et al. 2021).

Cross-domain correspondence, CVPR 2021, Eq. 2: a loss of GANs, carried to diffusion. What a
generator makes of the same z is here what the network makes of the same x_t and t, in its mid block
and on its way up. The paper draws one layer at a time; this is the mean over all of them, which is
its expectation. Its code takes the divergence the other way round; here it is the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antcli.methods.choice import Choice, Rule, Step
from antcli.methods.penalties.pairwise import divergence


class FeaturesPenalty(Rule):
    """Mean over maps and images of KL(adapted || source); 0 of fewer than three images."""

    sees_maps = True

    def __call__(self, step: Step) -> Tensor:
        """One number."""
        pairs = zip(*step.seen, strict=True)
        return torch.stack([divergence(adapted, source) for adapted, source in pairs]).mean()


CHOICE = Choice(
    "how the maps of each image resemble the others' (CDC, a loss of GANs)",
    lambda settings, prepared: FeaturesPenalty(),
    asks_source=True,
    compares=True,
    couples=3,
)
