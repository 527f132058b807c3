"""Low-rank additions to every convolution and every linear layer (LoRA, Hu et al. 2022).

Alpha is the rank, so nothing scales the product B A.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from diffusers import ModelMixin
from torch import Tensor, nn
from torch.func import functional_call

from antcli.diffusion.convention import PLAIN, Convention
from antcli.methods.choice import Choice
from antcli.methods.trainable.denoiser import AddedDenoiser, Denoiser, Limited
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
        self._whole: dict[str, Tensor] | None = None
        """The network's parameters with the products in them, while these are settled."""

    def of_conditions(self) -> nn.ModuleDict:
        """What it has anyway: of these each condition has a B of its own."""
        return self.lora

    @property
    def products(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each layer's name, its A [r, in, ...] and its B [out, r, ...], as they are trained."""
        for name, added in self.lora.items():
            down, up = added.parameters()
            yield name.replace("-", "."), down, up

    def values(self, condition: Tensor | None = None) -> dict[str, Tensor]:
        """The network's own parameters, W + B A in the place of every W."""
        values = super().values(condition)
        if self.conditions is None:
            merge(values, self.lora)
        return values

    def merged(self, condition: Tensor | None = None) -> ModelMixin | None:
        """A network of these."""
        return Denoiser.merged(self, condition)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """On a CPU a pass has W + B A in the place of both, for less than three quarters of its
        time; not of several conditions, each of which has a B.

        It takes as much memory as the network's parameters, which a card may not have left.
        """
        before, on_cpu = self._whole, next(self.parameters()).device.type == "cpu"
        if on_cpu and before is None and self.conditions is None:
            self._whole = self.values()
        try:
            yield
        finally:
            self._whole = before

    def _eps(self, unet: Callable[..., Any], x_t: Tensor, t: Tensor) -> Tensor:
        """With additions that speak for all images, and are settled, as one network."""
        whole = self._whole
        if whole is None or self.gate.silent or self.gate.open is not None:
            return super()._eps(unet, x_t, t)
        self.gate.silent = True
        return super()._eps(lambda *x, **said: functional_call(self.unet, whole, x, said), x_t, t)


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
