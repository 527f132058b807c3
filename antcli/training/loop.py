"""The one training loop: every method, and pretraining, is a choice of its parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.func import functional_call

from antcli.config import TrainingConfig
from antcli.diffusion.examples import Examples, moved
from antcli.errors import AntError
from antcli.methods.build import Objective
from antcli.methods.choice import Step
from antcli.methods.trainable.denoiser import Denoiser
from antcli.processes import own_share
from antcli.randomness import balanced_choice, generator, normal
from antcli.training.checkpoints import Trained, load_state, save_state
from antcli.training.part import Part


@dataclass(frozen=True)
class StepRecord:
    """What one step did."""

    step: int
    """Counted from 1: so many steps are done."""
    loss: float
    """Mean over the global batch; of the first part, where there are several."""
    learning_rate: float
    gradient_norm: float | None
    """Before clipping; None where it is not finite, and fp16's scaler passes over the step."""
    seconds: float


def check_batch(config: TrainingConfig, processes: int) -> None:
    """Raise `AntError` where some process would have no image of the batch."""
    if config.batch_size < processes:
        raise AntError(
            f"{processes} processes cannot share a batch of {config.batch_size}",
            "start fewer processes or raise `batch_size`",
            exit_code=2,
        )


class Training:
    """A denoiser and whatever trains beside it; `steps` yields a record for each step done.

    Draws are counted for each sample of the global batch, so the number of processes does not
    change them. `others` are parts that train after the denoiser in each step, by their names: a
    critic, another network's score.
    """

    def __init__(
        self,
        network: Denoiser,
        examples: Examples,
        config: TrainingConfig,
        accelerator: Accelerator,
        *,
        seed: int = 0,
        objective: Objective | None = None,
        others: Mapping[str, Part] | None = None,
        conditions: Tensor | None = None,
        faster: Mapping[str, float] | None = None,
    ) -> None:
        """`conditions`, [N, size], are those of the examples, where these have several; `faster` is
        for the denoiser's `Part`.
        """
        check_batch(config, accelerator.num_processes)
        self.network, self.examples, self.config = network, examples, config
        self.accelerator, self.seed = accelerator, seed
        self.conditions = conditions
        self.step = 0
        if config.low_memory:
            network.unet.enable_gradient_checkpointing()
        if config.compile:
            # Without what is around it, which may have to look at t.
            network.unet.compile(fullgraph=True)
        first = Part(network, objective or Objective(), config, accelerator, faster=faster)
        self.parts = {"": first, **(others or {})}
        self.parameters, self.ema = first.parameters, first.ema

    def steps(self) -> Iterator[StepRecord]:
        """Train to `config.steps`. Raises `NonFiniteLossError` before a bad step is taken."""
        while self.step < self.config.steps:
            started = time.perf_counter()
            batch = self._draw()
            with self.network.below_limit():  # as all t are drawn
                found = [part.update(batch, self.step) for part in self.parts.values()]
            self.step += 1
            loss, norm, rate = found[0]
            yield StepRecord(self.step, loss, rate, norm, time.perf_counter() - started)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the network has its averaged weights."""
        return self.ema.applied()

    def save(self, path: Path, metadata: Mapping[str, Any], before: Path | None = None) -> None:
        """Write the state after the last step; `load` goes on from it.

        The state that was at `path` goes to `before`, if given.
        """
        scaler = self.accelerator.scaler
        scaling = {} if scaler is None else {"ant.scaler": json.dumps(scaler.state_dict())}
        save_state(path, self._named_parts, self.step, {**metadata, **scaling}, before)

    def load(self, path: Path) -> None:
        """Go on from a state that `save` wrote."""
        metadata = load_state(path, self._named_parts)
        self.step = int(metadata["ant.step"])
        if self.accelerator.scaler is not None and "ant.scaler" in metadata:
            self.accelerator.scaler.load_state_dict(json.loads(metadata["ant.scaler"]))

    @property
    def _named_parts(self) -> dict[str, Trained]:
        """By what the names of their tensors begin with."""
        return {f"parts/{name}/" if name else "": part for name, part in self.parts.items()}

    def _draw(self) -> list[Step]:
        """The share of this process in the global batch, in as many parts as memory wants."""
        size = self.config.batch_size
        own = own_share(self.accelerator, range(size))
        mine = list(own)

        def draw(stream: str) -> torch.Generator:
            return generator(self.seed, stream, self.step)

        x_0, images, mirrored = self._examples(draw, mine)
        path, limit = self.network.convention.path, self.network.limit
        t = path.antithetic(size, draw("timesteps"), limit)[mine]
        chance = torch.rand(size, 3, generator=draw("chance"))[mine]
        objective = self.parts[""].objective
        augmentation, counterparts = objective.augmentation, objective.counterparts
        pair = kept = label = None
        if counterparts is not None:
            x_0, pair, kept = counterparts.pairs(x_0, images, mirrored, t, chance[:, ::2])
        if augmentation is not None:
            label = augmentation.draw(size, draw("augmentation"))[mine]
            told = moved(label, x_0.device)
            x_0 = augmentation.change(x_0, told)
            # What is moved has its places elsewhere.
            pair, kept = None if pair is None else augmentation.change(pair, told), None
        condition = None if self.conditions is None else self.conditions[images]
        eps = normal(self.seed, "noise", self.step, own, x_0.shape[1:])
        drawn = x_0, eps, t, images, mirrored, chance
        return self._parts(drawn, pair=pair, kept=kept, label=label, condition=condition)

    def _examples(
        self, draw: Callable[[str], torch.Generator], mine: list[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Some of a global batch: x_0, on the device; which these are, mirrored or not."""
        size = self.config.batch_size
        images = balanced_choice(len(self.examples), size, draw("images"))[mine]
        mirrored = torch.zeros(len(mine), dtype=torch.bool)
        if self.config.flip:
            mirrored = torch.rand(size, generator=draw("flips"))[mine] < 0.5
        there = self.examples.x_0.device
        x_0 = self.examples.take(moved(images, there), moved(mirrored, there))
        return moved(x_0, self.accelerator.device), images, mirrored

    @property
    def _at_once(self) -> int:
        """How many images of its share a process puts through the network together."""
        return self.config.micro_batch or (1 if self.config.low_memory else self.config.batch_size)

    def _parts(self, drawn: Iterable[Tensor], **known: Tensor | None) -> list[Step]:
        """What was drawn for this process' share, in as many parts as memory wants.

        `known` is what is known of the images in some trainings only, by its name in a step.
        """
        device = self.accelerator.device

        def parts(x: Tensor) -> Iterator[Tensor]:
            return iter(moved(x, device).split(self._at_once))

        network, predict, autocast = self.network, self.parts[""].wrapped, self.accelerator.autocast
        of: Any = {"done": self.step, "average": self._average}
        more = {name: parts(x) for name, x in known.items() if x is not None}
        return [
            Step(network, predict, autocast, *x, **{**of, **_next_of(more)})
            for x in zip(*map(parts, drawn), strict=True)
        ]

    def _average(self, x_t: Tensor, t: Tensor) -> Tensor:
        """What the network says with its averaged weights."""
        return functional_call(self.network, self.ema.average, (x_t, t))


def _next_of(columns: Mapping[str, Iterator[Tensor]]) -> dict[str, Any]:
    return {name: next(column) for name, column in columns.items()}
