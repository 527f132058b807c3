"""Pairwise similarity: the images of a batch shall differ as the source's do (DDPM-PA, Zhu et al.
2022, arXiv 2211.03264, section 4.2).

The similarities of each image to the others, of what is left when the noise is taken away, form a
distribution. The penalty is its divergence from the one that the source forms of the same x_t, t.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from antcli.methods.choice import Choice, Rule, Step


class PairwisePenalty(Rule):
    """Mean over the images of KL(adapted || source); 0 where a batch has fewer than three."""

    def __call__(self, step: Step) -> Tensor:
        """One number."""
        adapted, source = (
            step.path.to_x_0(eps, step.x_t, step.t) for eps in (step.output, step.source_output)
        )
        return divergence(adapted, source)


def divergence(adapted: Tensor, source: Tensor) -> Tensor:
    """Mean over the images of KL(adapted || source) of their similarities; [B, ...] both."""
    p, q = log_similarities(adapted), log_similarities(source)
    return functional.kl_div(q, p, reduction="sum", log_target=True) / len(adapted)


def log_similarities(x_0: Tensor) -> Tensor:
    """Logarithms of the softmax over j != i of cos(x_0^i, x_0^j): [B, C, H, W] to [B, B-1]."""
    directions = functional.normalize(x_0.flatten(1), dim=1)
    cosines, size = directions @ directions.T, len(x_0)
    # Without the diagonal, and without a mask, whose result a device would have to be asked for.
    others = cosines.flatten()[1:].view(size - 1, size + 1)[:, :-1]
    return others.reshape(size, size - 1).log_softmax(1)


CHOICE = Choice(
    "the similarity of each image to the others of its batch",
    lambda settings, prepared: PairwisePenalty(),
    asks_source=True,
    compares=True,
    couples=3,
)
