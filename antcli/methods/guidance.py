"""Which target a method regresses to: the noise, or the noise shifted by similarity guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from antcli.config import GuidanceConfig
from antcli.diffusion.schedule import Schedule

TARGET_CLASS = 1
"""The classifier's logits are [source, target]."""
TargetRule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(eps, x_t, t) to what the network is to predict."""


def coefficient(schedule: Schedule, kind: Literal["paper", "code", "derived"]) -> Tensor:
    """What multiplies gamma at each t, [T] in float64.

    `paper`: sigma_hat^2 (ANT, Eq. 5). `code`: 1 - alpha_bar, of the published code.
    `derived`: sigma_hat, which follows from the paper's Appendix A.2.
    """
    if kind == "paper":
        return schedule.sigma_hat.square()
    if kind == "code":
        return 1 - schedule.alpha_bar
    return schedule.sigma_hat


def log_likelihood_gradient(classifier: nn.Module, x_t: Tensor, t: Tensor) -> Tensor:
    """Gradient to x_t of log p(y = target | x_t), [B, C, H, W]. Parameters receive none."""
    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        log_p = classifier(x_t, t).float().log_softmax(dim=1)[:, TARGET_CLASS]
        return torch.autograd.grad(log_p.sum(), x_t)[0]


def guided_target(
    eps: Tensor,
    x_t: Tensor,
    t: Tensor,
    *,
    classifier: nn.Module,
    schedule: Schedule,
    config: GuidanceConfig,
) -> Tensor:
    """What eps_theta is pulled to: eps less the guidance (ANT, Eq. 8).

    Eq. 8 writes |eps - eps_theta - sigma_hat^2 gamma grad|^2: there eps_theta is pulled to
    eps - sigma_hat^2 gamma grad, the `minus` of `config.sign`.
    """
    gradient = log_likelihood_gradient(classifier, x_t, t)
    scale = config.gamma * schedule.at(coefficient(schedule, config.coefficient), t, x_t)
    return eps - scale * gradient if config.sign == "minus" else eps + scale * gradient
