"""From a method's name and settings to the parts of its training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor

from antcli.config import AdaptConfig, method_of
from antcli.diffusion.convention import Convention
from antcli.errors import AntError
from antcli.methods.choice import Augmentation, Choice, Rule, Step
from antcli.methods.counterparts import Counterparts
from antcli.methods.table import CHOICES, choice, setting
from antcli.methods.trainable.denoiser import TOLD, Denoiser
from antcli.randomness import seeded


@dataclass(frozen=True)
class Objective:
    """What a network is trained towards: Eq. 8 of ANT, or less, or more."""

    noise: Rule | None = None
    """None leaves the noise as it is drawn."""
    target: Rule | None = None
    """None: the noise."""
    penalties: tuple[tuple[float, Rule], ...] = ()
    """Each with what it is multiplied by."""
    augmentation: Augmentation | None = None
    """What becomes of the images beforehand; None: nothing."""
    counterparts: Counterparts | None = None
    """What the source has in the place of each image; None: nothing asks for it."""
    visiting: bool = False
    """Whether what the rules ask is on the device only while they do."""

    @contextmanager
    def at_hand(self, device: torch.device) -> Iterator[None]:
        """Inside, the rules may be asked."""
        rules = (self.noise, self.target, *(rule for _, rule in self.penalties))
        guests = [rule.module for rule in rules if rule is not None and rule.module is not None]
        for guest in guests if self.visiting else ():
            guest.to(device)
        yield
        for guest in guests if self.visiting else ():
            guest.to("cpu")

    def prepared(self, step: Step) -> tuple[Step, Tensor]:
        """The step with the noise that is trained on, and what eps_theta is pulled to."""
        watched = any(penalty.sees_maps for _, penalty in self.penalties)
        step = replace(step, watched=watched)
        if self.noise is not None:
            with step.autocast():
                step = replace(step, eps=self.noise(step), before=step.eps)
        return step, step.eps if self.target is None else self.target(step)

    def loss(self, step: Step, target: Tensor) -> Tensor:
        """The mean over the images; an error of eps weighs the same whatever the network says."""
        residual = step.output - target
        weight = step.path.weight(step.t, step.x_t, step.network.convention.prediction)
        if self.target is not None:
            weight = weight * self.target.weight(step)
        loss = (weight * residual.square()).mean()
        for factor, penalty in self.penalties:
            loss = loss + factor * penalty(step)
        return loss


def choices_of(config: AdaptConfig) -> list[Choice]:
    """All that the settings take: those of the method, and the penalties with a weight."""
    return [*method_of(config).choices.values(), *(c for _, c in penalties_of(config))]


def penalties_of(config: AdaptConfig) -> list[tuple[float, Choice]]:
    """The penalties that have a weight, with it."""
    weights = {name: getattr(config.penalties, setting(name)) for name in CHOICES["penalties"]}
    return [(weight, choice("penalties", name)) for name, weight in weights.items() if weight]


def stages_of(config: AdaptConfig) -> tuple[str, ...]:
    """What has to be prepared before training; first the counterparts, which say the limit in t."""
    stages = dict.fromkeys(stage for c in choices_of(config) for stage in c.stages)
    return tuple(sorted(stages, key=lambda stage: stage != "counterparts"))


def build_network(
    unet: ModelMixin,
    config: AdaptConfig,
    convention: Convention,
    t_limit: float | None = None,
    conditions: int = 0,
    images: int = 0,
) -> Denoiser:
    """The network that the method trains, with what trains marked; it takes `unet` over.

    A `t_limit` that is kept with the counterparts stands in the place of that of the settings.
    `conditions` is the size of the target's conditions, 0 where it has none; not asked for where
    each of so many `images` is a condition of its own.
    """
    trains = method_of(config).choices["trains"]
    settings = _settings(trains, config)
    if t_limit is not None:
        settings = replace(settings, t_limit=t_limit)
    network: Denoiser = trains.build(unet, settings, convention, config.seed)
    augmentation = _augmentation(config)
    if augmentation is not None:
        network.take_labels(augmentation.size)
    method_of(config).choices["condition"].build(network)
    with seeded(config.seed):
        if images:
            network.take_images(images)
        elif conditions:
            network.take_conditions(conditions)
    return network


def said_limit(config: AdaptConfig) -> float | None:
    """The limit in t that the settings say of what trains; None where it is nothing but a default.

    Settings that were written out hold their defaults, too: these are not told from what was said.
    """
    settings = _settings(method_of(config).choices["trains"], config)
    return None if settings.t_limit == type(settings).t_limit else float(settings.t_limit)


def faster_than_all(config: AdaptConfig) -> dict[str, float]:
    """What the learning rate is multiplied by of what a network is told of its images: embeddings
    and low-rank additions that begin at zero, and train at the rate of such.

    By the beginnings of their names. The rates of other choices may be a tenth of it, at which
    conditions stay the same, or sixty times as much, at which they come apart.
    """
    if method_of(config).trains == "lora":
        return {}
    own = choice("trains", "lora").defaults["training"]["learning_rate"]
    return dict.fromkeys(TOLD, own / config.training.learning_rate)


def build_objective(config: AdaptConfig, prepared: Mapping[str, Any]) -> Objective:
    """What it is trained towards; `prepared` is what the method's stages gave."""

    def rule(chosen: Choice) -> Any:
        return chosen.build(_settings(chosen, config), prepared)

    choices = method_of(config).choices
    penalties = tuple((weight, rule(penalty)) for weight, penalty in penalties_of(config))
    noise, target = rule(choices["noise"]), rule(choices["target"])
    visiting = config.training.low_memory
    pairs: Counterparts | None = prepared.get("counterparts")
    return Objective(noise, target, penalties, _augmentation(config), pairs, visiting)


def check_pixels(config: AdaptConfig, *, latent: bool) -> None:
    """Raise `AntError` where a choice is about pixels, and the source diffuses latents."""
    of_pixels = [c for c in choices_of(config) if c.of_pixels]
    if latent and of_pixels:
        raise AntError(
            f"{of_pixels[0].help}: this changes pixels, and the source diffuses latents",
            "take a source of pixels, or leave the augmentation out, as `finetune` does",
            exit_code=2,
        )


def check_encoder(config: AdaptConfig, *, encodes: bool) -> None:
    """Raise `AntError` where what a source makes of classes or columns shall train, and it has
    none.
    """
    if method_of(config).condition == "tuned" and not encodes:
        raise AntError(
            "this source makes nothing of a class or of columns that could train: it is asked for "
            "none, or for a text, which is encoded beforehand",
            "leave `train_condition` out",
            exit_code=2,
        )


def check_whole_batches(config: AdaptConfig, processes: int = 1) -> None:
    """Raise `AntError` where a batch is taken apart whose images a penalty has to see together."""
    coupling = [c for c in choices_of(config) if c.couples]
    if not coupling:
        return
    training, fewest = config.training, max(c.couples for c in coupling)
    if training.batch_size < fewest:
        raise AntError(
            f"{coupling[0].help}: this penalty compares the images of a batch, and says nothing of "
            f"{training.batch_size}",
            f"raise `batch_size` to {fewest} at least, or leave this penalty out",
            exit_code=2,
        )
    apart = 0 < training.micro_batch < training.batch_size or (
        training.low_memory and not training.micro_batch
    )
    if apart or processes > 1:
        raise AntError(
            f"{coupling[0].help}: this penalty needs whole batches, which "
            + ("micro-batches take apart" if apart else f"{processes} processes share"),
            "put the whole batch through one process at once (`low_memory` with a `micro_batch` of "
            f"{training.batch_size} still saves memory), or leave this penalty out",
            exit_code=2,
        )


def check_tuned(config: AdaptConfig) -> None:
    """Raise `AntError` where a penalty speaks of weights that do not train."""
    of_tuned = [c for c in choices_of(config) if c.of_tuned]
    if of_tuned and not any(c.tunes for c in choices_of(config)):
        able = [name for name in CHOICES["trains"] if choice("trains", name).tunes]
        raise AntError(
            f"{of_tuned[0].help}: of these {method_of(config).trains} trains none",
            f"train {', '.join(able[:-1])} or {able[-1]}",
            exit_code=2,
        )


def evaluations_per_step(config: AdaptConfig) -> dict[str, int]:
    """Passes through each network that a training step takes, for each image; at most: where it is
    known what is new in an image, the source is asked once less.
    """
    passes = Counter({"denoiser forward": 1, "denoiser backward": 1})
    for chosen in choices_of(config):
        passes.update(chosen.passes(_settings(chosen, config)))
    if any(chosen.compares for chosen in choices_of(config)):
        passes["source forward"] += 1
    return dict(passes)


def _augmentation(config: AdaptConfig) -> Augmentation | None:
    chosen = method_of(config).choices["augmentation"]
    found: Augmentation | None = chosen.build(_settings(chosen, config), {})
    return found


def _settings(chosen: Choice, config: AdaptConfig) -> Any:
    return next((getattr(config, table) for table in chosen.tables), None)
