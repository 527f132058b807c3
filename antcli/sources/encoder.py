"""The first half of a U-Net, as what sees images: its features, of use to whoever compares them."""

from __future__ import annotations

from diffusers import ModelMixin
from torch import Tensor, nn

from antcli.diffusion.convention import Convention


class Encoder(nn.Module):
    """The maps of a frozen U-Net's down blocks and, where there is one, of its mid block.

    It takes the network over, which loses its decoder: two thirds of the work.
    """

    def __init__(self, unet: ModelMixin, convention: Convention) -> None:
        super().__init__()
        unet.up_blocks = nn.ModuleList()
        unet.conv_norm_out = unet.conv_out = nn.Identity()
        self.unet, self.convention = unet.requires_grad_(False).eval(), convention
        blocks = [*unet.down_blocks, *([unet.mid_block] if unet.mid_block is not None else [])]
        for block in blocks:
            block.register_forward_hook(self._keep)
        widths = [*unet.config.block_out_channels]
        self.channels = [*widths, widths[-1]][: len(blocks)]
        """Of each map."""
        self._maps: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor) -> list[Tensor]:
        """The maps, each [B, C, H', W'], of x_t [B, C, H, W] at t [B]; with their graph to x_t."""
        self._maps = []
        told = self.convention.path.network_time(t)
        self.unet(x_t, told.to(x_t.device), **self.convention.inputs(x_t))
        maps, self._maps = self._maps, []
        return maps

    def _keep(self, block: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        """A down block gives its output and the maps for its skip connections."""
        self._maps.append(output if isinstance(output, Tensor) else output[0])
