"""Which target a method regresses to: the noise, or the noise shifted by similarity guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from antcli.config import GuidanceConfig
from antcli.diffusion.path import Path

TARGET_CLASS = 1
"""The classifier's logits are [source, target]."""
TargetRule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(eps, x_t, t) to what the network is to predict."""


def coefficient(
    path: Path, t: Tensor, like: Tensor, kind: Literal["paper", "code", "derived"]
) -> Tensor:
    """What multiplies gamma at t, [B, 1, 1, 1].

    `paper`: sigma_hat^2 (ANT, Eq. 5). `code`: sigma_t^2, which is 1 - alpha_bar, of
    the published code.
    `derived`: sigma_hat, which follows from the paper's Appendix A.2.
    """
    if kind == "paper":
        return path.sigma_hat(t, like).square()
    if kind == "code":
        return path.alpha_sigma(t, like)[1].square()
    return path.sigma_hat(t, like)


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
    path: Path,
    config: GuidanceConfig,
) -> Tensor:
    """What eps_theta is pulled to: eps less the guidance (ANT, Eq. 8).

    Eq. 8 writes |eps - eps_theta - sigma_hat^2 gamma grad|^2: there eps_theta is pulled to
    eps - sigma_hat^2 gamma grad, the `minus` of `config.sign`.
    """
    gradient = log_likelihood_gradient(classifier, x_t, path.told(t))
    scale = config.gamma * coefficient(path, t, x_t, config.coefficient)
    return eps - scale * gradient if config.sign == "minus" else eps + scale * gradient
