"""Noise that is chosen adversarially: what the network predicts worst (ANT, Eq. 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from antcli.diffusion.path import Path
from antcli.methods.choice import Choice, Predict, Rule, Step
from antcli.settings import Natural, NonNegative, settings


@settings
class NoiseConfig:
    """The inner maximisation over the noise (ANT, Eq. 7)."""

    inner_steps: Natural = 1
    """J."""
    omega: NonNegative = 0.02
    gradient: Literal["full", "residual"] = "residual"
    """`full`: through the network. `residual`: its output held constant, no backward pass."""


@dataclass(frozen=True)
class AdversarialNoise(Rule):
    """Noise that the network predicts worse than the step's, with t and x_0 fixed (ANT, Eq. 7)."""

    config: NoiseConfig

    def __call__(self, step: Step) -> Tensor:
        """[B, C, H, W]."""
        eps, config = step.eps, self.config
        for _ in range(config.inner_steps):
            with step.told():
                gradient = residual_gradient(
                    eps, step.x_0, step.t, step.network, step.path, config.gradient
                )
            eps = normalise(eps + config.omega * gradient)
        return eps.detach()


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


def _passes(config: NoiseConfig) -> dict[str, int]:
    through = config.inner_steps if config.gradient == "full" else 0
    return {"denoiser forward": config.inner_steps, "denoiser backward": through}


CHOICE = Choice(
    "noise that the network predicts worst",
    lambda settings, prepared: AdversarialNoise(settings),
    tables={"noise": NoiseConfig},
    passes=_passes,
)
