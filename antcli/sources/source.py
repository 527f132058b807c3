"""A source: the frozen pretrained model that everything starts from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, ModelMixin
from torch import Tensor

from antcli.artifacts import file_hash
from antcli.config import ConditionConfig
from antcli.diffusion.convention import Convention
from antcli.diffusion.path import BetaPath
from antcli.diffusion.sampler import Sampler
from antcli.diffusion.sampling import SchedulerName, sample
from antcli.errors import AntError
from antcli.sources import condition as conditions
from antcli.sources.catalog import catalog
from antcli.sources.codec import Autoencoder, Codec, PixelCodec, find_autoencoder
from antcli.sources.condition import TEXT, make_condition
from antcli.sources.fetch import locate
from antcli.sources.files import find_weights, load_frozen, read_config
from antcli.sources.networks import NETWORKS
from antcli.sources.sampler import usual_sampler
from antcli.sources.supported import check_network, make_scheduler

TEXT_GUIDANCE = 7.5
"""The usual guidance scale of Stable Diffusion."""
NOTHING = "nothing."
"""Begins the names of what asks for nothing."""


@dataclass(frozen=True)
class Source:
    """What is known of a source before its weights are loaded."""

    name: str
    """As the user gave it."""
    folder: Path
    unet_config: dict[str, Any]
    scheduler: DDPMScheduler
    """Its schedule, as diffusers sees it."""
    weights: Path
    """Of its network."""
    autoencoder: Autoencoder | None = None
    """None: it diffuses the pixels themselves."""
    condition: Mapping[str, Tensor] = field(default_factory=dict, compare=False)
    """What its network is asked with; see `conditioned`."""
    unconditional: Mapping[str, Tensor] = field(default_factory=dict, compare=False)
    """What asks it for nothing, where something is asked for and that is possible."""
    guidance_scale: float = 1.0
    """Of classifier-free guidance in its samples; 1: none."""
    _codecs: dict[str, Codec] = field(default_factory=dict, repr=False, compare=False)
    """By the device that they are ready on."""

    @property
    def latent(self) -> bool:
        """Whether it diffuses latents of an autoencoder."""
        return self.autoencoder is not None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of x_t: channels, height, width."""
        size = self.unet_config["sample_size"]
        side = int(size if isinstance(size, int) else size[0])
        return int(self.unet_config["in_channels"]), side, side

    @property
    def size(self) -> int:
        """Side of its images in pixels."""
        return self.shape[-1] * (self.autoencoder.factor if self.autoencoder else 1)

    @cached_property
    def path(self) -> BetaPath:
        """How noise comes over its x_0."""
        return BetaPath(self.scheduler.betas.double())

    @property
    def convention(self) -> Convention:
        """How its network is asked, and how its answer is read."""
        prediction = self.scheduler.config.prediction_type
        asked = self.condition, self.unconditional, self.guidance_scale
        return Convention(self.path, prediction, *asked)

    @property
    def sampler(self) -> Sampler:
        """How its samples are drawn where nothing else is said."""
        return usual_sampler(self.name)

    @cached_property
    def sha256(self) -> str:
        """Of its weight file; with an autoencoder, of both files' hashes."""
        network = file_hash(self.weights)
        if self.autoencoder is None:
            return network
        both = network + file_hash(self.autoencoder.weights)
        return hashlib.sha256(both.encode()).hexdigest()

    def conditioned(self, config: ConditionConfig) -> Source:
        """The same source, asked for a class or a text.

        Raises `AntError` where it does not know what is asked for, or has to be told what.
        """
        condition = make_condition(self.folder, self.name, self.unet_config, config)
        if TEXT not in condition or not config.prompt:
            if config.guidance_scale > 0:
                raise AntError(
                    f"source {self.name} is asked for no text: there is nothing to guide towards",
                    "leave `guidance_scale` out, or say a `prompt`",
                    exit_code=2,
                )
            return replace(self, condition=condition)
        nothing = {TEXT: conditions.encode_prompt(self.folder, self.name, "")}
        scale = config.guidance_scale or TEXT_GUIDANCE
        return replace(self, condition=condition, unconditional=nothing, guidance_scale=scale)

    @property
    def condition_tensors(self) -> dict[str, Tensor]:
        """What `conditioned_by` takes: both conditions, by names that tell them apart."""
        nothing = {f"{NOTHING}{name}": value for name, value in self.unconditional.items()}
        return {**self.condition, **nothing}

    def conditioned_by(self, tensors: Mapping[str, Tensor], guidance_scale: float) -> Source:
        """The same source, asked as the one that these tensors are of; scale 0: the usual one."""
        nothing = {k.removeprefix(NOTHING): v for k, v in tensors.items() if k.startswith(NOTHING)}
        condition = {k: v for k, v in tensors.items() if not k.startswith(NOTHING)}
        scale = (guidance_scale or TEXT_GUIDANCE) if nothing else 1.0
        return replace(self, condition=condition, unconditional=nothing, guidance_scale=scale)

    def load(self) -> ModelMixin:
        """A fresh copy of its network in float32, frozen, in eval mode."""
        return load_frozen(NETWORKS[self.unet_config["_class_name"]], self.weights)

    def sample(
        self,
        predict: Callable[[Tensor, Tensor], Tensor],
        seeds: Sequence[int],
        *,
        scheduler: SchedulerName | None = None,
        steps: int | None = None,
        device: torch.device | str = "cpu",
        conditions: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """x_0 in batches, as `sampling.sample` yields them; `predict` is eps_theta, adapted or not.

        Of a `Denoiser` it is the `guided` one, which alone may be asked for `conditions`, and else
        has those of its images in turn, drawn by the network's own sampler where nothing else is
        said; raises `AntError` where that was made for something else.
        x_0 of pixels is kept in [-1, 1]; latents have no such bounds.
        """
        if conditions is None and hasattr(predict, "in_turn"):
            conditions = predict.in_turn(seeds)
        own = getattr(predict, "sampler", None) or self.sampler
        sampler = own.asked(scheduler, steps)
        batches = sample(
            getattr(predict, "guided", predict),
            self.path,
            seeds,
            self.shape,
            scheduler=sampler.scheduler,
            steps=sampler.steps,
            limit=sampler.limit(self.path),
            device=device,
            clip=not self.latent,
            conditions=conditions,
        )
        return _while_settled(predict, batches)

    def codec(self, device: torch.device | str = "cpu") -> Codec:
        """What lies between its images and x_0, ready on `device`; loaded once for each."""
        if self.autoencoder is None:
            return PixelCodec()
        if str(device) not in self._codecs:
            self._codecs[str(device)] = self.autoencoder.load(device)
        return self._codecs[str(device)]


def _while_settled(predict: object, batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """Draw them of a network that, if it is a `Denoiser`, does not train meanwhile."""
    with getattr(predict, "settled", nullcontext)():
        yield from batches


def find_source(name: str) -> Source:
    """Look a source up and check its files, without loading its weights.

    `name` is a known name, a diffusers folder (weights at the root or in `unet/`) or a hub id.
    Raises `AntError` where it is unknown, not whole, or of a kind that cannot be adapted.
    """
    folder = locate(name)
    unet_folder = folder / "unet" if (folder / "unet" / "config.json").exists() else folder
    unet = read_config(unet_folder / "config.json", name)
    scheduler_folder = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    scheduler = read_config(scheduler_folder / "scheduler_config.json", name)
    entry = catalog().get(name)
    autoencoder = find_autoencoder(folder, name, entry.scaling_factor if entry else None)
    check_network(name, unet, autoencoder)
    weights = find_weights(unet_folder, name)
    return Source(name, folder, unet, make_scheduler(name, scheduler), weights, autoencoder)
