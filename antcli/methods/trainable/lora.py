"""Low-rank additions to every convolution and every linear layer (LoRA, Hu et al. 2022).

W x becomes W x + B A x: A brings the input to `rank` channels, B brings these to the output. Of a
convolution, A has its kernel, stride and padding, and B is 1x1. B starts at zero, so an untrained
network is its source exactly; alpha is the rank, so nothing scales the product.

Of a target with several conditions W x becomes W x + sum_k y_k B_k A x, y the label of the image's
condition: A, which reads, is shared, and what is written is each condition's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from antcli.diffusion.convention import PLAIN, Convention
from antcli.methods.choice import Choice
from antcli.methods.trainable.denoiser import AddedDenoiser, Limited, like
from antcli.methods.trainable.gate import Parallel
from antcli.methods.trainable.labels import by_label
from antcli.randomness import seeded
from antcli.settings import Count, settings


@settings
class LoraSettings(Limited):
    """Shape of the low-rank additions."""

    rank: Count = 8
    """Of no layer more than its own channels."""


class LoraDenoiser(AddedDenoiser):
    """A frozen U-Net with B A beside every Conv2d and Linear layer, in `lora` by its name."""

    def __init__(
        self, unet: ModelMixin, config: LoraSettings, convention: Convention = PLAIN
    ) -> None:
        super().__init__(unet, convention, config.t_limit)
        self.lora = nn.ModuleDict()
        for name, layer in list(unet.named_modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                added = low_rank(layer, config.rank)
                self.lora[name.replace(".", "-")] = added
                layer.register_forward_hook(Parallel(added, self.gate))

    def take_conditions(self, size: int) -> None:
        """As of any network; and a B of its own for each number of a condition's label."""
        super().take_conditions(size)
        assert self.conditions is not None
        for added in self.lora.values():
            assert isinstance(added, LowRank)
            added.take_conditions(size, self.conditions.said)

    @property
    def products(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each layer's name, its A [r, in, ...] and its B [out, r, ...], as they are trained.

        Of several conditions B is [out, size r, ...].
        """
        for name, added in self.lora.items():
            down, up = added.parameters()
            yield name.replace("-", "."), down, up

    @torch.no_grad()
    def merged(self, condition: Tensor | None = None) -> ModelMixin:
        """W + B A in the place of every W."""
        values = self.values(condition)
        for layer, down, up in self.products:
            weight, up = f"{layer}.weight", up.flatten(1)
            if self.conditions is not None:
                y = torch.zeros(self.conditions.size) if condition is None else condition
                up = torch.einsum("k,okr->or", y.to(up), up.unflatten(1, (len(y), -1)))
            values[weight] = values[weight] + torch.einsum("or,r...->o...", up, down)
        return like(self.unet, values)


class LowRank(nn.Sequential):
    """B after A, or a B for each number of a label."""

    said: Callable[[], Tensor] | None = None
    """Tells the labels of a batch, [B, size]."""

    def take_conditions(self, size: int, said: Callable[[], Tensor]) -> None:
        """Let it have so many, all of them zero."""
        up: Any = self[1]
        up.weight, self.said = nn.Parameter(up.weight.repeat_interleave(size, 1)), said

    def forward(self, x: Tensor) -> Tensor:
        """As its layer takes it."""
        h, up = self[0](x), cast(Any, self[1])
        if self.said is None:
            return cast(Tensor, up(h))
        if isinstance(up, nn.Conv2d):
            return functional.conv2d(by_label(h, self.said(), 1), up.weight)
        return functional.linear(by_label(h, self.said(), h.ndim - 1), up.weight)


def low_rank(layer: nn.Conv2d | nn.Linear, rank: int) -> LowRank:
    """B after A for a layer; A as layers of its kind begin, B zero."""
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


def _build(
    unet: ModelMixin, settings: LoraSettings, convention: Convention, seed: int
) -> LoraDenoiser:
    with seeded(seed):
        return LoraDenoiser(unet, settings, convention)


CHOICE = Choice(
    "low-rank additions to every layer of the frozen network",
    _build,
    tables={"lora": LoraSettings},
    defaults={"training": {"learning_rate": 5e-4}},
)
