"""Which noise a method trains on: Gaussian, or chosen adversarially (ANT, Eq. 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from antcli.config import NoiseConfig
from antcli.diffusion.path import Path

Predict = Callable[[Tensor, Tensor], Tensor]
"""eps_theta(x_t, t): [B, C, H, W] and [B] to [B, C, H, W]."""
NoiseRule = Callable[[Tensor, Tensor, Tensor, Predict], Tensor]
"""(eps, x_0, t, predict) to the noise that is trained on."""


def normalise(eps: Tensor) -> Tensor:
    """Norm of Eq. 7: each sample to mean 0 and standard deviation 1 over C, H and W."""
    axes = tuple(range(1, eps.ndim))
    return (eps - eps.mean(axes, keepdim=True)) / eps.std(axes, keepdim=True, correction=0)


def residual_gradient(
    eps: Tensor,
    x_0: Tensor,
    t: Tensor,
    predict: Predict,
    path: Path,
    kind: Literal["full", "residual"],
) -> Tensor:
    """Gradient to eps of |eps - eps_theta(x_t, t)|^2, summed over each sample (in Eq. 7).

    `full` goes through the network; `residual` holds its output constant, which leaves
    2 (eps - eps_theta) and needs no backward pass. No parameter receives a gradient.
    """
    if kind == "residual":
        with torch.no_grad():
            return 2 * (eps - predict(path.add_noise(x_0, eps, t), t))
    with torch.enable_grad():
        eps = eps.detach().requires_grad_()
        residual = eps - predict(path.add_noise(x_0, eps, t), t)
        return torch.autograd.grad(residual.square().sum(), eps)[0]


def adversarial_noise(
    eps: Tensor,
    x_0: Tensor,
    t: Tensor,
    predict: Predict,
    *,
    path: Path,
    config: NoiseConfig,
) -> Tensor:
    """Noise that the network predicts worse than `eps`, with t and x_0 fixed (ANT, Eq. 7)."""
    for _ in range(config.inner_steps):
        gradient = residual_gradient(eps, x_0, t, predict, path, config.gradient)
        eps = normalise(eps + config.omega * gradient)
    return eps.detach()
