"""What a choice of a method is, and what its rules are given.

A method is one choice for each slot: what trains, on which noise, towards which target, with which
penalties, what becomes of the condition, and how images are augmented. A choice is one file that
holds all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from antcli.diffusion.path import Path
from antcli.methods.trainable.denoiser import Denoiser

Predict = Callable[[Tensor, Tensor], Tensor]
"""eps_theta(x_t, t): [B, C, H, W] and [B] to [B, C, H, W]."""


@dataclass(frozen=True)
class Choice:
    """All that the program has to know of a choice."""

    help: str
    """In one line."""
    build: Callable[..., Any]
    """What trains: `(unet, settings, convention, seed)` to a `Denoiser`. A rule: `(settings,
    prepared)` to a `Rule`, or to None where there is nothing to do; `prepared` is what the stages
    gave, by their names. How images are augmented: the same, to an `Augmentation`. What becomes of
    the condition: `(network)` to nothing; it marks what trains of it."""
    tables: Mapping[str, type[Any]] = field(default_factory=dict)
    """Its settings by the table of a config file; `build` is given the first."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What it prefers of other settings, as nested tables."""
    stages: tuple[str, ...] = ()
    """What has to be there before training; see `training/stages.py`."""
    passes: Callable[[Any], Mapping[str, int]] = lambda settings: {}
    """Passes through each network that it adds to a step, for each image; at most."""
    tunes: bool = False
    """Of what trains: whether it is weights that the source has, too."""
    of_tuned: bool = False
    """Whether it is about weights that the source has, too, and wants that such train."""
    asks_source: bool = False
    """Whether it evaluates the frozen source."""
    compares: bool = False
    """Whether it asks the source at the step's own x_t and t: one pass, whoever asks."""
    couples: int = 0
    """Images of a batch that it compares at the least, where it sees them together: then the batch
    is not taken apart."""
    of_pixels: bool = False
    """Whether it is about pixels: then it has nothing to say of latents."""


@dataclass(frozen=True)
class Step:
    """A batch, or a part of one, as the rules see it: [B, ...] each, on the device."""

    network: Denoiser
    """What is adapted: called by a rule, no process waits for another's gradients."""
    predict: Predict
    """The same network in the training pass, whose gradients the processes exchange."""
    autocast: Callable[[], AbstractContextManager[Any]]
    x_0: Tensor
    eps: Tensor
    t: Tensor
    images: Tensor
    """Which of the target's images these are."""
    mirrored: Tensor
    """Which of them are mirror images."""
    chance: Tensor
    """[B, 3], uniform in [0, 1): for rules that choose."""
    before: Tensor | None = None
    """The noise as it was drawn, where a rule has changed it since."""

    done: int = 0
    """Steps taken before this one."""
    average: Predict | None = None
    """Of the network with its averaged weights."""
    watched: bool = False
    """Whether the network's maps are kept."""
    pair: Tensor | None = None
    """x'_0, [B, C, H, W]: what the source has in the place of each image, where that is known."""
    kept: Tensor | None = None
    """[B, 1, H, W], in [0, 1]: how much of each place of x_0 is the counterpart's, where that is
    known."""
    label: Tensor | None = None
    """[B, size], how x_0 was augmented, where there is an augmentation."""
    condition: Tensor | None = None
    """[B, size], of each image, where the target has several."""

    @property
    def path(self) -> Path:
        """How noise comes over x_0."""
        return self.network.convention.path

    @property
    def drawn(self) -> Tensor:
        """The noise as it was drawn."""
        return self.eps if self.before is None else self.before

    @property
    def counterpart(self) -> Tensor:
        """x'_0, for rules that learn from pairs."""
        assert self.pair is not None
        return self.pair

    @cached_property
    def x_t(self) -> Tensor:
        """x_0 with the noise of t."""
        return self.path.add_noise(self.x_0, self.eps, self.t)

    @cached_property
    def output(self) -> Tensor:
        """eps_theta(x_t, t) of the adapted network, float32, with its graph."""
        with self._watching(self.maps), self.told():
            return self.predict(self.x_t, self.t).float()

    @cached_property
    def maps(self) -> list[Tensor]:
        """What the mid block and the blocks on the way up give for `output`, where it is watched.

        Filled when `output` is asked for.
        """
        return []

    @cached_property
    def source_maps(self) -> list[Tensor]:
        """The same of the source; filled when `source_output` is asked for."""
        return []

    @property
    def seen(self) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of the adapted network, with their graph, and of the source, at this x_t and t."""
        _ = self.output, self.source_output
        return self.maps, self.source_maps

    def told(self) -> AbstractContextManager[None]:
        """Inside, the network is told how the images of this step were augmented, and which
        condition each has.
        """
        if self.label is None and self.condition is None:
            return nullcontext()
        return self.network.told(self.label, self.condition)

    def asked(self) -> AbstractContextManager[None]:
        """Inside, the network is told which condition each image of this step has."""
        if self.condition is None:
            return nullcontext()
        return self.network.told(condition=self.condition)

    def averaged(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Eps of the averaged network, float32, without a graph."""
        assert self.average is not None
        with torch.no_grad(), self.autocast(), self.told():
            return self.average(x_t, t).float()

    def source(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Eps of the frozen source at any x_t and t, float32, without a graph."""
        with self.autocast():
            return self.network.source(x_t, t).float()

    @cached_property
    def source_output(self) -> Tensor:
        """What the source says at this x_t and t."""
        with self._watching(self.source_maps):
            return self.source(self.x_t, self.t)

    @contextmanager
    def _watching(self, maps: list[Tensor]) -> Iterator[None]:
        """Keeps in `maps` what the blocks of the network's second half give."""
        unet = self.network.unet if self.watched else None
        blocks = () if unet is None else (unet.mid_block, *unet.up_blocks)

        def keep(block: nn.Module, inputs: object, output: Tensor) -> None:
            maps.append(output.float())

        handles = [b.register_forward_hook(keep) for b in blocks if b is not None]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class Rule:
    """From a step to a tensor: the noise or the target [B, C, H, W], or a penalty, one number.

    A penalty is a mean over the images. Nothing but a penalty has a graph.
    """

    module: nn.Module | None = None
    """A network of its own, which need not stay on the device."""
    sees_maps = False
    """Whether it asks for the maps of a step."""

    def __call__(self, step: Step) -> Tensor:
        """What the rule says."""
        raise NotImplementedError

    def weight(self, step: Step) -> Tensor | float:
        """Of a target: what an error of eps counts, for each image [B, 1, 1, 1]."""
        return 1.0


class Augmentation:
    """How images are changed before they are learnt from, and a label that says how they were.

    The label is all that a change depends on. It is zero where nothing was changed.
    """

    size: int
    """Numbers of a label."""

    def draw(self, count: int, draw: torch.Generator) -> Tensor:
        """Labels [count, size] of as many images, on the CPU."""
        raise NotImplementedError

    def change(self, images: Tensor, label: Tensor) -> Tensor:
        """Images [B, C, H, W], float32, changed as their labels [B, size] say."""
        raise NotImplementedError
