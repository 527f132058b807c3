"""Low-rank additions to every convolution and every linear layer (LoRA, Hu et al. 2022).

Alpha is the rank, so nothing scales the product B A.
"""

from __future__ import annotations

from collections.abc import Iterator

from diffusers import ModelMixin
from torch import Tensor, nn

from antcli.diffusion.convention import PLAIN, Convention
from antcli.methods.choice import Choice
from antcli.methods.trainable.denoiser import AddedDenoiser, Limited, like
from antcli.methods.trainable.low_rank import beside_layers, merge
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
        self.lora = beside_layers(unet, config.rank, self.gate)

    def of_conditions(self) -> nn.ModuleDict:
        """What it has anyway: of these each condition has a B of its own."""
        return self.lora

    @property
    def products(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each layer's name, its A [r, in, ...] and its B [out, r, ...], as they are trained."""
        for name, added in self.lora.items():
            down, up = added.parameters()
            yield name.replace("-", "."), down, up

    def merged(self, condition: Tensor | None = None) -> ModelMixin:
        """W + B A in the place of every W."""
        values = self.values(condition)
        if self.conditions is None:
            merge(values, self.lora)
        return like(self.unet, values)


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
