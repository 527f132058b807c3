"""Elastic weights: a weight stays near the source's, the more the source's samples depend on it.

EWC for few images: Li et al., NeurIPS 2020 (arXiv 2012.02780), after Kirkpatrick et al. 2017. A
loss of GANs, carried to diffusion: the log-likelihood is the loss of eps. The mean of the *squares*
of single samples' gradients is the Fisher information; published code that sums the gradients
themselves (sony/nnabla-examples) computes something else.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from antcli.methods.choice import Choice, Rule, Step
from antcli.methods.penalties.source import SourceExamplesSettings
from antcli.methods.trainable.tuned import TunedDenoiser
from antcli.settings import Count, settings


@settings
class EwcSettings:
    """The estimate of the Fisher information."""

    draws: Count = 200
    """Of a sample of the source, t and noise: a pass and a gradient each."""


class EwcPenalty(Rule):
    """Sum of F_i (theta_i - theta_source_i)^2 (Li et al., Eq. 3)."""

    def __init__(self, fisher: Mapping[str, Tensor]) -> None:
        """F by the names of the parameters that train."""
        self.fisher = fisher

    def __call__(self, step: Step) -> Tensor:
        """One number, whatever the images."""
        network = step.network
        assert isinstance(network, TunedDenoiser)
        moved = network.moved()
        terms = [(self.fisher[name].to(way) * way.square()).sum() for name, way in moved.items()]
        return torch.stack(terms).sum()


CHOICE = Choice(
    "weights on which the source's samples depend (EWC, a loss of GANs)",
    lambda settings, prepared: EwcPenalty(prepared["fisher"]),
    tables={"ewc": EwcSettings, "source_examples": SourceExamplesSettings},
    stages=("source_examples", "fisher"),
    asks_source=True,
    of_tuned=True,
)
