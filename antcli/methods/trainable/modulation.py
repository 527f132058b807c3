"""Filters that matter to the target are modulated, the rest is tuned (AdAM, Zhao et al. 2022).

AdAM, NeurIPS 2022, arXiv 2210.16559: a method of GANs, carried to diffusion. A filter W that is
modulated is W (1 + v u^T), with a v of its own and the u of its layer; one that is tuned is W plus
anything. Before training, all filters are modulated for a while; those whose v then has the larger
Fisher information on the target stay so. Here filters are the outputs of convolutions and linear
layers; their biases and the normalisations stay. v starts at zero and u at a standard normal, not
both at 1e-7, so that an untrained network is its source exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import torch
from annotated_types import Ge, Le
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from antcli.diffusion.convention import PLAIN, Convention
from antcli.methods.choice import Choice
from antcli.methods.trainable.denoiser import AddedDenoiser, Limited, like
from antcli.methods.trainable.gate import Parallel
from antcli.methods.trainable.low_rank import weighted_layers
from antcli.randomness import seeded
from antcli.settings import Count, settings


@settings
class ModulationSettings(Limited):
    """Which filters are modulated, and how that is found out."""

    quantile: Annotated[float, Ge(0), Le(1)] = 0.5
    """Share of the filters that are tuned: those of the least Fisher information."""
    probe_steps: Count = 50
    """Of modulating all filters; the paper's is 500, of a GAN."""
    probe_draws: Count = 100
    """Gradients of single images, of which the Fisher information is the mean square."""


class Change(nn.Module):
    """What is added to a layer's output: x times W (v u^T) of modulated filters, D of tuned ones.

    Where it is not known which are which, v is zero of tuned filters and D of modulated ones.
    """

    modulated: Tensor | None

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        object.__setattr__(self, "layer", layer)  # no part of this: it does not train
        weight = layer.weight
        self.v = nn.Parameter(torch.zeros(len(weight)))
        self.u = nn.Parameter(torch.randn(weight[0].shape))
        self.tuned = nn.Parameter(torch.zeros_like(weight))
        self.register_buffer("modulated", None, persistent=False)

    def weight(self) -> Tensor:
        """What is added to the layer's weight."""
        layer: Any = self.layer
        each = (-1, *[1] * self.u.ndim)
        v: Tensor = self.v.view(each)
        tuned: Tensor = self.tuned
        if self.modulated is not None:
            kept = self.modulated.view(each)
            v, tuned = v * kept, tuned * (1 - kept)
        return layer.weight.detach() * (v * self.u) + tuned

    def forward(self, x: Tensor) -> Tensor:
        """As the layer takes it."""
        layer: Any = self.layer
        if isinstance(layer, nn.Conv2d):
            geometry: Any = layer.stride, layer.padding, layer.dilation, layer.groups
            return functional.conv2d(x, self.weight(), None, *geometry)
        return functional.linear(x, self.weight())


class ModulatedDenoiser(AddedDenoiser):
    """A frozen U-Net with a change beside every Conv2d and Linear layer, by its name."""

    def __init__(
        self, unet: ModelMixin, config: ModulationSettings, convention: Convention = PLAIN
    ) -> None:
        super().__init__(unet, convention, config.t_limit)
        self.changes = nn.ModuleDict()
        for name, layer in weighted_layers(unet):
            change = Change(layer)
            self.changes[name.replace(".", "-")] = change
            layer.register_forward_hook(Parallel(change, self.gate))

    def take_prepared(self, prepared: Mapping[str, Any]) -> None:
        """Which filters matter."""
        self.modulate(prepared["modulated"])

    def modulate(self, filters: Mapping[str, Tensor]) -> None:
        """Say of each layer which of its filters are modulated, 1, and which are tuned, 0."""
        for name, v in self.vs().items():
            self.changes[name].modulated = filters[name].to(v)

    @torch.no_grad()
    def merged(self, condition: Tensor | None = None) -> ModelMixin:
        """Every filter as it acts."""
        values = self.values(condition)
        for name, change in self.changes.items():
            weight = f"{name.replace('-', '.')}.weight"
            values[weight] = values[weight] + cast("Change", change).weight()
        return like(self.unet, values)

    def modulate_all(self) -> None:
        """As in the probe."""
        self.modulate({name: torch.ones_like(v) for name, v in self.vs().items()})

    def vs(self) -> dict[str, Tensor]:
        """The v of each layer, [filters]."""
        changes = cast("dict[str, Change]", dict(self.changes.items()))
        return {name: change.v.detach() for name, change in changes.items()}


def important(fisher: Mapping[str, Tensor], quantile: float) -> dict[str, Tensor]:
    """1 for each filter whose Fisher information is above the quantile over all layers, else 0."""
    ordered = torch.cat(list(fisher.values())).sort().values
    place = int(quantile * len(ordered))  # torch.quantile takes no more than 16 million
    least = ordered[place] if place < len(ordered) else torch.inf
    return {name: (found >= least).float() for name, found in fisher.items()}


def _build(
    unet: ModelMixin, settings: ModulationSettings, convention: Convention, seed: int
) -> ModulatedDenoiser:
    with seeded(seed):
        return ModulatedDenoiser(unet, settings, convention)


CHOICE = Choice(
    "filters: those that matter to the target modulated, the rest tuned (AdAM, of GANs)",
    _build,
    tables={"modulation": ModulationSettings},
    defaults={"training": {"learning_rate": 6e-4}},
    stages=("modulated",),
)
