"""The network that a method trains, seen as eps_theta(x_t, t)."""

from __future__ import annotations

from diffusers import UNet2DModel
from torch import Tensor, nn


class Denoiser(nn.Module):
    """A `UNet2DModel` that predicts the noise."""

    below: int | None = None
    """Only at t below this does what trains change the prediction; None: at every t."""

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps_theta(x_t, t): [B, C, H, W] and [B] to [B, C, H, W]."""
        return self.unet(x_t, t, return_dict=False)[0]

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def all_weights(unet: UNet2DModel) -> Denoiser:
    """Everything trains."""
    return Denoiser(unet.requires_grad_(True))
