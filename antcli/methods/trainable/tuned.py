"""Weights of the network itself that train: all of them, or some."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.func import functional_call

from antcli.diffusion.convention import PLAIN, Convention
from antcli.errors import AntError
from antcli.methods.choice import Choice
from antcli.methods.trainable.denoiser import Denoiser, Limited
from antcli.methods.trainable.encoder import is_of_encoder

Select = Callable[[ModelMixin, Any], Iterable[nn.Parameter]]
"""From a network and the choice's settings to its parameters that train."""


class TunedDenoiser(Denoiser):
    """Some weights train; with a limit in t, or where it is asked for, the source's are kept."""

    def __init__(
        self,
        unet: ModelMixin,
        convention: Convention = PLAIN,
        t_limit: float = 1.0,
        trained: Iterable[nn.Parameter] | None = None,
    ) -> None:
        """`trained`: the parameters that train; all of them where it is left out."""
        chosen = list(unet.parameters() if trained is None else trained)
        super().__init__(unet.requires_grad_(False), convention, t_limit)
        for parameter in chosen:
            parameter.requires_grad_(True)
        self.of_source: dict[str, Tensor] = {}
        """What the source has in the place of the weights that train, by their names in `unet`."""
        if self.limit is not None:
            self.keep_source()

    @property
    def whole(self) -> bool:
        """Whether all weights train, but for what the network makes of its condition, and nothing
        beside them.
        """
        own = (p for n, p in self.unet.named_parameters() if not is_of_encoder(n))
        beside = self.conditions is not None or self.encoder is not None
        return not beside and all(p.requires_grad for p in own)

    def keep_source(self) -> None:
        """A copy of what trains, which is no part of the network's own parameters."""
        if not self.of_source:
            trained = self.unet.named_parameters()
            self.of_source = {n: p.detach().clone() for n, p in trained if p.requires_grad}

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps_theta(x_t, t)."""
        eps = super().forward(x_t, t)
        if self.limit is None or self.all_below:
            return eps
        below = t < self.limit
        if t.device.type == "cpu" and below.all():
            return eps
        return torch.where(below.to(eps.device)[:, None, None, None], eps, self.source(x_t, t))

    @torch.no_grad()
    def source(self, x_t: Tensor, t: Tensor) -> Tensor:
        """What the network says with the source's weights."""
        kept = self._kept(x_t.device)

        def unet(*arguments: Any, **named: Any) -> Any:
            return functional_call(self.unet, kept, arguments, named)

        self.gate.silent = True
        try:
            return self._eps(unet, x_t, t)
        finally:
            self.gate.silent = False

    def moved(self) -> dict[str, Tensor]:
        """How far each weight that trains is from the source's, with its graph, by its name."""
        trained = self.trained()
        kept = self._kept(next(iter(trained.values())).device)
        return {f"unet.{name}": trained[f"unet.{name}"] - weight for name, weight in kept.items()}

    def _kept(self, device: torch.device) -> dict[str, Tensor]:
        """The source's weights, which go to a device once."""
        assert self.of_source, "keep_source() comes before training"
        self.of_source = {name: weight.to(device) for name, weight in self.of_source.items()}
        return self.of_source


def tuning(help: str, select: Select, table: str, kind: type[Limited], rate: float) -> Choice:
    """A choice of which weights train, with its settings and its learning rate.

    Rates are measured, on plain noise: benchmarks/results/learning-rates.md.
    """

    def build(
        unet: ModelMixin, settings: Limited, convention: Convention, seed: int
    ) -> TunedDenoiser:
        trained = list(select(unet, settings))
        if not trained:
            raise AntError(
                f"this source's network has nothing of what is to train: {help}",
                "choose something else that trains",
            )
        return TunedDenoiser(unet, convention, settings.t_limit, trained)

    return Choice(
        help,
        build,
        tables={table: kind},
        defaults={"training": {"learning_rate": rate}},
        tunes=True,
    )
