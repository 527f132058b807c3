"""Low-rank additions beside layers: W x becomes W x + B A x (Hu et al. 2022).

A brings the input to `rank` channels, B brings these to the output. Of a convolution, A has its
kernel, stride and padding, and B is 1x1. B starts at zero, so an untrained network is its source
exactly.

Of several conditions W x becomes W x + sum_k y_k B_k A x, y the label of the image's condition: A,
which reads, is shared, and what is written is each condition's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from antcli.methods.trainable.encoder import is_of_encoder
from antcli.methods.trainable.gate import Gate, Parallel


class LowRank(nn.Sequential):
    """B after A, or a B for each number of a label."""

    said: Callable[[], Tensor] | None = None
    """Tells the labels of a batch, [B, size]."""

    def take_conditions(self, size: int, said: Callable[[], Tensor]) -> None:
        """Let it have so many B, all of them zero."""
        up: Any = self[1]
        up.weight, self.said = nn.Parameter(up.weight.repeat_interleave(size, 1)), said

    def forward(self, x: Tensor) -> Tensor:
        """As its layer takes it."""
        h = self[0](x)
        if self.said is None:
            return cast(Tensor, self[1](h))
        up = self._up(self.said())  # [B or 1, out, r]
        if isinstance(self[1], nn.Conv2d):
            return (up @ h.flatten(2)).unflatten(2, h.shape[2:])
        return (h.reshape(len(h), -1, h.shape[-1]) @ up.mT).view(*h.shape[:-1], -1)

    def weight(self, condition: Tensor | None = None) -> Tensor:
        """What it comes to beside the layer's own weight; with several B, for one label [size]."""
        down, up = (p.flatten(1) for p in self.parameters())
        if self.said is not None:
            size = up.shape[1] // len(down)
            label = up.new_zeros(1, size) if condition is None else condition[None]
            up = self._up(label)[0]
        return (up @ down).unflatten(1, next(self.parameters()).shape[1:])

    def _up(self, label: Tensor) -> Tensor:
        """For each of some labels, [B, size], the sum of all B, each times its number: [B, out, r].

        One small matrix an image is far less to do than `size` times the channels.
        """
        down, up = self.parameters()
        each = up.flatten(1).unflatten(1, (-1, len(down)))
        return torch.einsum("bk,okr->bor", label.to(up), each)


def weighted_layers(unet: ModelMixin) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """Every Conv2d and Linear layer by its name, but for those of the encoder of conditions."""
    return [
        (name, layer)
        for name, layer in unet.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and not is_of_encoder(name)
    ]


def beside_layers(unet: ModelMixin, rank: int, gate: Gate) -> nn.ModuleDict:
    """Beside each of the `weighted_layers` of a network, acting where the gate lets them."""
    found = nn.ModuleDict()
    for name, layer in weighted_layers(unet):
        added = found[name.replace(".", "-")] = low_rank(layer, rank)
        layer.register_forward_hook(Parallel(added, gate))
    return found


@torch.no_grad()
def merge(
    values: dict[str, Tensor], additions: nn.ModuleDict, condition: Tensor | None = None
) -> None:
    """Add what `beside_layers` gave to the weights of a network, by their names."""
    for name, added in additions.items():
        weight = f"{name.replace('-', '.')}.weight"
        values[weight] = values[weight] + cast(LowRank, added).weight(condition)


def low_rank(layer: nn.Conv2d | nn.Linear, rank: int) -> LowRank:
    """B after A for a layer, of no more than its own channels; A as such layers begin, B zero."""
    down: nn.Module
    up: nn.Module
    if isinstance(layer, nn.Conv2d):
        rank = min(rank, layer.in_channels, layer.out_channels)
        geometry = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        down = nn.Conv2d(layer.in_channels, rank, *geometry, bias=False)  # type: ignore[arg-type]
        up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
    else:
        rank = min(rank, layer.in_features, layer.out_features)
        down = nn.Linear(layer.in_features, rank, bias=False)
        up = nn.Linear(rank, layer.out_features, bias=False)
    nn.init.zeros_(up.weight)
    return LowRank(down, up)
