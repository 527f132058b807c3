"""The network that a method trains, seen as eps_theta(x_t, t)."""

from __future__ import annotations

from diffusers import ModelMixin
from torch import Tensor, nn

from antcli.diffusion.convention import PLAIN, Convention


class Denoiser(nn.Module):
    """A U-Net of diffusers that predicts the noise, whatever it says in its own words."""

    below: float | None = None
    """Only at t below this does what trains change the prediction; None: at every t."""

    def __init__(self, unet: ModelMixin, convention: Convention = PLAIN) -> None:
        super().__init__()
        self.unet = unet
        self.convention = convention

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps_theta(x_t, t): [B, C, H, W] and [B] to [B, C, H, W]."""
        condition = self.convention.inputs(x_t)
        output = self.unet(x_t, self.convention.path.told(t), **condition, return_dict=False)[0]
        return self.convention.eps(output, x_t, t)

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def all_weights(unet: ModelMixin, convention: Convention = PLAIN) -> Denoiser:
    """Everything trains."""
    return Denoiser(unet.requires_grad_(True), convention)
