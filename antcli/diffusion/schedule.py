"""The algebra of the forward process, in the symbols of the papers.

t is counted from 0 to T-1, as in the code of DDPM; alpha_bar at t = -1 is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """A variance schedule: `betas` [T], float64. All else follows from it."""

    betas: Tensor

    @classmethod
    def linear(cls, timesteps: int = 1000, start: float = 1e-4, end: float = 0.02) -> Schedule:
        """Linear betas (Ho et al. 2020, section 4)."""
        return cls(torch.linspace(start, end, timesteps, dtype=torch.float64))

    @property
    def timesteps(self) -> int:
        """T."""
        return len(self.betas)

    @cached_property
    def alpha_bar(self) -> Tensor:
        """Product of (1 - beta) up to and including t, [T]."""
        return torch.cumprod(1 - self.betas, dim=0)

    @cached_property
    def alpha_bar_previous(self) -> Tensor:
        """alpha_bar at t-1, [T]; 1 at t = 0."""
        return torch.cat([self.alpha_bar.new_ones(1), self.alpha_bar[:-1]])

    @cached_property
    def sigma_hat(self) -> Tensor:
        """(1 - alpha_bar_{t-1}) sqrt(alpha_t / (1 - alpha_bar_t)), [T] (ANT, below Eq. 5)."""
        return (1 - self.alpha_bar_previous) * torch.sqrt((1 - self.betas) / (1 - self.alpha_bar))

    def add_noise(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (DDPM, Eq. 4).

        `x_0` and `eps` are [B, C, H, W], `t` [B].
        """
        alpha_bar = self.at(self.alpha_bar, t, x_0)
        return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps

    def predict_x_0(self, x_t: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The x_0 that `add_noise` would have started from, not clipped (DDPM, Eq. 15)."""
        alpha_bar = self.at(self.alpha_bar, t, x_t)
        return (x_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()

    @staticmethod
    def at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
        """`values[t]` as [B, 1, 1, 1], in the type and on the device of `like`."""
        picked = values[t.to(values.device)].to(device=like.device, dtype=like.dtype)
        return picked.view(-1, *[1] * (like.ndim - 1))
