"""Plain fine-tuning: every weight of the U-Net trains."""

from __future__ import annotations

from copy import deepcopy

import torch
from diffusers import ModelMixin
from torch import Tensor

from antcli.diffusion.convention import PLAIN, Convention
from antcli.methods.choice import Choice
from antcli.methods.trainable.denoiser import Denoiser, Limited
from antcli.settings import settings


@settings
class FullSettings(Limited):
    """Of plain fine-tuning."""


class FullDenoiser(Denoiser):
    """Everything trains; with a limit in t, or where it is asked for, the source is kept beside."""

    def __init__(
        self, unet: ModelMixin, convention: Convention = PLAIN, t_limit: float = 1.0
    ) -> None:
        super().__init__(unet.requires_grad_(True), convention, t_limit)
        self._source: ModelMixin | None = None
        if self.limit is not None:
            self.keep_source()

    def keep_source(self) -> None:
        """A copy, which is no part of the network's own modules."""
        if self._source is None:
            frozen = deepcopy(self.unet).requires_grad_(False)
            object.__setattr__(self, "_source", frozen)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps_theta(x_t, t)."""
        eps = super().forward(x_t, t)
        if self.limit is None:
            return eps
        below = t < self.limit
        if t.device.type == "cpu" and below.all():
            return eps
        return torch.where(below.to(eps.device)[:, None, None, None], eps, self.source(x_t, t))

    @torch.no_grad()
    def source(self, x_t: Tensor, t: Tensor) -> Tensor:
        """What the copy says."""
        assert self._source is not None
        return self._eps(self._source.to(x_t.device), x_t, t)


def _build(
    unet: ModelMixin, settings: FullSettings, convention: Convention, seed: int
) -> FullDenoiser:
    return FullDenoiser(unet, convention, settings.t_limit)


CHOICE = Choice(
    "all weights of the network",
    _build,
    tables={"full": FullSettings},
    # At the rate of adaptors the network comes apart: benchmarks/results.
    defaults={"training": {"learning_rate": 2e-4}},
)
