"""Of each image the adapted maps resemble the source's of the same image more than of any other's.

The generator's half of DCL (Zhao et al., CVPR 2022, arXiv 2205.03805): a loss of GANs, carried to
diffusion; the other half needs a discriminator. What a generator makes of the same z is here what
the network makes of the same x_t and t, in its mid block and on its way up.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from antcli.methods.choice import Choice, Rule, Step
from antcli.settings import Positive, settings


@settings
class ContrastiveSettings:
    """Of the contrastive penalty."""

    temperature: Positive = 0.07


class ContrastivePenalty(Rule):
    """Mean over maps and images i of -log softmax_j(cos(f_i, g_j) / tau) at j = i.

    f are the adapted maps, g those of the source.
    """

    sees_maps = True

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, step: Step) -> Tensor:
        """One number."""
        own = torch.arange(len(step.t), device=step.x_0.device)
        terms = []
        for adapted, source in zip(*step.seen, strict=True):
            f, g = (functional.normalize(maps.flatten(1), dim=1) for maps in (adapted, source))
            terms.append(functional.cross_entropy(f @ g.T / self.temperature, own))
        return torch.stack(terms).mean()


CHOICE = Choice(
    "that each image's maps resemble the source's of the same image (DCL, a loss of GANs)",
    lambda settings, prepared: ContrastivePenalty(settings.temperature),
    tables={"contrastive": ContrastiveSettings},
    asks_source=True,
    compares=True,
    couples=2,
)
