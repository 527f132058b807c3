"""Details: the bands of a wavelet transform that are not the coarse one (DDPM-PA, Zhu et al. 2022,
arXiv 2211.03264, section 4.3).

Of a Haar transform's four bands LL, LH, HL and HH, the details are hf = LH + HL + HH. Two penalties
are made of them: the details of a batch shall differ as the source's do, and those of an image
shall be its own. The published code takes the first one's divergence the other way round; here it
is the paper's. Towards the noisy end both count a mistake of eps sigma/alpha-fold.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from antcli.methods.choice import Choice, Rule, Step
from antcli.methods.penalties.pairwise import divergence


def details(x_0: Tensor) -> Tensor:
    """LH + HL + HH of the orthonormal Haar transform, [B, C, H, W] to [B, C, H/2, W/2]."""
    # All four add up to twice the last of four pixels; LL is twice their mean.
    return 2 * (x_0[..., 1::2, 1::2] - functional.avg_pool2d(x_0, 2))


class HighFrequencyPenalty(Rule):
    """Mean over the images of KL(adapted || source) of similarities of the details (L_hf)."""

    def __call__(self, step: Step) -> Tensor:
        """One number."""
        adapted, source = (
            details(step.path.to_x_0(eps, step.x_t, step.t))
            for eps in (step.output, step.source_output)
        )
        return divergence(adapted, source)


class DetailPenalty(Rule):
    """Mean over all coefficients of |hf(predicted x_0) - hf(x_0)|^2 (L_hfmse)."""

    def __call__(self, step: Step) -> Tensor:
        """One number."""
        found = details(step.path.to_x_0(step.output, step.x_t, step.t))
        return functional.mse_loss(found, details(step.x_0))


CHOICE = Choice(
    "the similarity of each image's details to the others'",
    lambda settings, prepared: HighFrequencyPenalty(),
    asks_source=True,
    compares=True,
    couples=3,
)
OWN = Choice(
    "each image's own details",
    lambda settings, prepared: DetailPenalty(),
)
