"""The network that a method trains, seen as eps_theta(x_t, t)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from antcli.diffusion.convention import PLAIN, Convention
from antcli.diffusion.sampler import Sampler
from antcli.methods.trainable.encoder import ENCODER, TunedEncoder
from antcli.methods.trainable.gate import Gate
from antcli.methods.trainable.labels import LabelEmbedding
from antcli.methods.trainable.low_rank import LowRank, beside_layers, merge
from antcli.settings import Share, settings

TIME_BIAS = "time_embedding.linear_2.bias"
OWN_RANK = 8
"""Of what a condition has for itself, where low-rank additions are not what trains anyway."""


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


TOLD = ("labels.", "conditions.", "own.")
"""What the names begin with of what a `Denoiser` is told of its images by; it begins at zero."""


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
        self.conditions: LabelEmbedding | None = None
        self.images = 0
        """How many images are conditions of their own, which samples have in turn; 0: none is."""
        self.own: nn.ModuleDict | None = None
        self.encoder: TunedEncoder | None = None
        self.all_below = False
        """Whether all t that come are known to be below it."""
        self.sampler: Sampler | None = None
        """How its samples are drawn where nothing else is said; None: as those of its source."""
        self.beneath: Denoiser | None = None
        """What acts beside its U-Net, and is no part of what trains here."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """eps_theta(x_t, t): [B, C, H, W] and [B], on any device, to [B, C, H, W]."""
        return self._eps(self.unet, x_t, t)

    def guided(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """As samples are drawn: eps with the classifier-free guidance of its convention.

        `condition`, [B, size], is that of each image, where the network knows several.
        """
        with self.told(condition=condition):
            return self._guided(x_t, t)

    def _guided(self, x_t: Tensor, t: Tensor) -> Tensor:
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

    def take_conditions(self, size: int) -> None:
        """Let it be asked for conditions [B, size]: an embedding of them trains, too, and low-rank
        additions to every layer, of which each condition has its own.
        """
        self.conditions = LabelEmbedding(self.unet, size, self.gate)
        for added in self.of_conditions().values():
            cast(LowRank, added).take_conditions(size, self.conditions.said)

    def take_images(self, count: int) -> None:
        """Let each of so many images be a condition of its own, without a name."""
        self.take_conditions(count)
        self.images = count

    def in_turn(self, seeds: Sequence[int]) -> Tensor | None:
        """The conditions, [N, size], of samples for which none is asked: which of the images each
        has depends on its seed alone. None where it knows of no images.
        """
        if not self.images:
            return None
        return torch.eye(self.images)[[seed % self.images for seed in seeds]]

    def of_conditions(self) -> nn.ModuleDict:
        """The low-rank additions by the layers that they stand beside, made when first asked for.

        A vector beside t alone hardly tells two conditions apart: benchmarks/LOG.md.
        """
        if self.own is None:
            self.own = beside_layers(self.unet, OWN_RANK, self.gate)
        return self.own

    def take_encoder(self) -> None:
        """Let what the source makes of its classes train, too."""
        self.encoder = TunedEncoder(getattr(self.unet, ENCODER), self.gate)

    @contextmanager
    def told(self, label: Tensor | None = None, condition: Tensor | None = None) -> Iterator[None]:
        """Inside, it is told by labels how its images were augmented, and which condition each
        has; of what is left out, as outside, that it is zero.
        """
        with ExitStack() as inside:
            if self.beneath is not None and self.conditions is None:
                inside.enter_context(self.beneath.told(condition=condition))
                condition = None
            for embedding, said in ((self.labels, label), (self.conditions, condition)):
                if said is not None:
                    assert embedding is not None, "take_labels() or take_conditions() comes first"
                    inside.enter_context(embedding.told(said))
            yield

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

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Inside nothing trains, and passes may take less time for that."""
        yield

    def take_prepared(self, prepared: Mapping[str, Any]) -> None:
        """What the stages before training gave, by their names; to be called before training."""

    def source(self, x_t: Tensor, t: Tensor) -> Tensor:
        """What the source predicts, which is frozen: no gradient, whatever has been trained."""
        raise NotImplementedError

    def keep_source(self) -> None:
        """Make `source` possible; to be called before anything is trained."""

    def merged(self, condition: Tensor | None = None) -> ModelMixin | None:
        """A network like the source's that says at every t what this one says below its limit.

        Of several conditions it knows one, [size], or none. None where what trains is no change of
        the network's own parameters, and where images are conditions and it is not said which.
        """
        several = self.images and condition is None
        return None if several else like(self.unet, self.values(condition))

    @torch.no_grad()
    def values(self, condition: Tensor | None = None) -> dict[str, Tensor]:
        """The network's own parameters, with what its embeddings of conditions come to."""
        values = dict(self.unet.state_dict())
        if self.encoder is not None:
            values |= self.encoder.values()
        if self.conditions is not None and condition is not None:
            # A vector that is added to what t is embedded as: the last bias of that.
            values[TIME_BIAS] = values[TIME_BIAS] + self.conditions.linear(condition)
            merge(values, self.of_conditions(), condition)
        return values

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

    def merged(self, condition: Tensor | None = None) -> ModelMixin | None:
        """None: modules beside a network are none of its parameters, unless they come to such."""
        return None
