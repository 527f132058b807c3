"""The noise, shifted by similarity guidance: towards what a classifier takes for the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from antcli.diffusion.path import Path
from antcli.methods.choice import Choice, Rule, Step
from antcli.methods.classifier import TARGET_CLASS, ClassifierConfig
from antcli.settings import NonNegative, settings


@settings
class GuidanceConfig:
    """Similarity guidance (ANT, Eq. 5 and 8)."""

    gamma: NonNegative = 5.0
    coefficient: Literal["paper", "code", "derived"] = "paper"
    """sigma_hat^2 (Eq. 5); 1 - alpha_bar (the published code); sigma_hat (Appendix A.2)."""
    sign: Literal["minus", "plus"] = "minus"
    """`minus` moves samples towards the target (Eq. 5)."""


class GuidedTarget(Rule):
    """What eps_theta is pulled to: eps less the guidance (ANT, Eq. 8).

    Eq. 8 writes |eps - eps_theta - sigma_hat^2 gamma grad|^2: there eps_theta is pulled to
    eps - sigma_hat^2 gamma grad, the `minus` of `config.sign`.
    """

    def __init__(self, config: GuidanceConfig, classifier: nn.Module) -> None:
        self.config, self.module = config, classifier

    def __call__(self, step: Step) -> Tensor:
        """[B, C, H, W]."""
        path, x_t, t = step.path, step.x_t, step.t
        assert self.module is not None
        gradient = log_likelihood_gradient(self.module, x_t, path.network_time(t))
        scale = self.config.gamma * coefficient(path, t, x_t, self.config.coefficient)
        shift = scale * gradient
        return step.eps - shift if self.config.sign == "minus" else step.eps + shift


def coefficient(
    path: Path, t: Tensor, like: Tensor, kind: Literal["paper", "code", "derived"]
) -> Tensor:
    """What multiplies gamma at t, [B, 1, 1, 1].

    `paper`: sigma_hat^2 (ANT, Eq. 5). `code`: sigma_t^2, which is 1 - alpha_bar, of
    the published code. `derived`: sigma_hat, which follows from the paper's Appendix A.2.
    """
    if kind == "code":
        return path.alpha_sigma(t, like)[1].square()
    sigma_hat = path.sigma_hat(t, like)
    return sigma_hat.square() if kind == "paper" else sigma_hat


def log_likelihood_gradient(classifier: nn.Module, x_t: Tensor, t: Tensor) -> Tensor:
    """Gradient to x_t of log p(y = target | x_t), [B, C, H, W]. Parameters receive none."""
    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        log_p = classifier(x_t, t).float().log_softmax(dim=1)[:, TARGET_CLASS]
        return torch.autograd.grad(log_p.sum(), x_t)[0]


def _build(settings: GuidanceConfig, prepared: Mapping[str, Any]) -> GuidedTarget:
    return GuidedTarget(settings, prepared["classifier"])


CHOICE = Choice(
    "the noise, guided by a classifier that knows the noise level",
    _build,
    tables={"guidance": GuidanceConfig, "classifier": ClassifierConfig},
    stages=("classifier",),
    passes=lambda settings: {"classifier forward": 1, "classifier backward": 1},
)
