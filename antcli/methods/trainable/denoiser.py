"""The network that a method trains, seen as eps_theta(x_t, t)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from antcli.diffusion.convention import PLAIN, Convention
from antcli.diffusion.sampler import Sampler
from antcli.methods.trainable.gate import Gate
from antcli.methods.trainable.labels import LabelEmbedding
from antcli.settings import Share, settings


@settings
class Limited:
    """Settings of what trains: all of them have a limit in t."""

    t_limit: Share = 1.0
    """What trains acts, and is trained, below this share of the path of noise. Above it the source
    predicts alone: there an image's layout and colours are settled, whose variety a few images
    cannot teach."""

    @classmethod
    def normalised(cls, table: dict[str, Any]) -> dict[str, Any]:
        """The limit was called `below` once."""
        below = {"t_limit": table.pop("below")} if "below" in table else {}
        return {**below, **table}


class Denoiser(nn.Module):
    """A U-Net of diffusers that predicts the noise, whatever it says in its own words."""

    def __init__(
        self, unet: ModelMixin, convention: Convention = PLAIN, t_limit: float = 1.0
    ) -> None:
        super().__init__()
        self.unet = unet
        self.convention = convention
        self.t_limit = t_limit
        """The limit as a share of the path."""
        self.limit = None if t_limit == 1 else convention.path.limit(t_limit)
        """Only at t below this does what trains change the prediction; None: at every t."""
        self.gate = Gate()
        self.labels: LabelEmbedding | None = None
        self.all_below = False
        """Whether all t that come are known to be below it."""
        self.sampler = Sampler()
        """How its samples are drawn where nothing else is said."""
        self.beneath: Denoiser | None = None
        """What acts beside its U-Net, and is no part of what trains here."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps_theta(x_t, t): [B, C, H, W] and [B], on any device, to [B, C, H, W]."""
        return self._eps(self.unet, x_t, t)

    def guided(self, x_t: Tensor, t: Tensor) -> Tensor:
        """As samples are drawn: eps with the classifier-free guidance of its convention."""
        asked, eps = self.convention, self(x_t, t)
        if not asked.unconditional or asked.guidance_scale == 1:
            return eps
        self.convention = replace(asked, condition=asked.unconditional)
        try:
            nothing = self(x_t, t)
        finally:
            self.convention = asked
        return nothing + asked.guidance_scale * (eps - nothing)

    def take_labels(self, size: int) -> None:
        """Let it be told of its images by labels [B, size]: an embedding of them trains, too."""
        self.labels = LabelEmbedding(self.unet, size, self.gate)

    def told(self, label: Tensor) -> AbstractContextManager[None]:
        """Inside, it is told of its images by these labels; outside, that they are zero."""
        assert self.labels is not None, "take_labels() comes first"
        return self.labels.told(label)

    @contextmanager
    def below_limit(self) -> Iterator[None]:
        """Inside, all t are below the limit: of those on a device nobody can tell without waiting
        for it.
        """
        before, self.all_below = self.all_below, True
        try:
            yield
        finally:
            self.all_below = before

    def take_prepared(self, prepared: Mapping[str, Any]) -> None:
        """What the stages before training gave, by their names; to be called before training."""

    def source(self, x_t: Tensor, t: Tensor) -> Tensor:
        """What the source predicts, which is frozen: no gradient, whatever has been trained."""
        raise NotImplementedError

    def keep_source(self) -> None:
        """Make `source` possible; to be called before anything is trained."""

    def merged(self) -> ModelMixin | None:
        """A network like the source's that says at every t what this one says below its limit.

        None where what trains is no change of the network's own parameters.
        """
        return like(self.unet, self.unet.state_dict())

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _eps(self, unet: Callable[..., Any], x_t: Tensor, t: Tensor) -> Tensor:
        told, condition = self.convention.path.network_time(t), self.convention.inputs(x_t)
        output = unet(x_t, told.to(x_t.device), **condition, return_dict=False)[0]
        return self.convention.eps(output, x_t, t)


def like(unet: ModelMixin, values: Mapping[str, Tensor]) -> ModelMixin:
    """A network of the same kind with other `values`, frozen, without its hooks."""
    other = type(unet).from_config(unet.config)
    other.load_state_dict(values)
    return other.requires_grad_(False).eval()


class AddedDenoiser(Denoiser):
    """A frozen U-Net, and small modules that add to what its blocks say, below a limit in t.

    The modules act through forward hooks that ask `gate`, and live beside the U-Net: its state dict
    stays that of the source.
    """

    def __init__(
        self, unet: ModelMixin, convention: Convention = PLAIN, t_limit: float = 1.0
    ) -> None:
        super().__init__(unet.requires_grad_(False), convention, t_limit)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps_theta(x_t, t)."""
        self.gate.silent, self.gate.open = False, None
        if self.limit is not None and not self.all_below:
            below = t < self.limit
            # What a device holds is not looked at, or the host would wait for it in each pass.
            looked = t.device.type == "cpu"
            self.gate.silent = looked and not below.any()
            self.gate.open = None if looked and below.all() else below
        return super().forward(x_t, t)

    @torch.no_grad()
    def source(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The U-Net with its additions silent."""
        before, self.gate.silent = self.gate.silent, True
        try:
            return super().forward(x_t, t)
        finally:
            # Maps that are computed again on the way back shall be what they were.
            self.gate.silent = before

    def merged(self) -> ModelMixin | None:
        """None: modules beside a network are none of its parameters, unless they come to such."""
        return None
