"""The one training loop: every method, and pretraining, is a choice of its four parts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.config import TrainingConfig
from antcli.errors import AntError
from antcli.images.grid import to_float
from antcli.methods.guidance import TargetRule
from antcli.methods.noise import NoiseRule
from antcli.methods.trainable.denoiser import Denoiser
from antcli.randomness import balanced_choice, generator, normal
from antcli.training.checkpoints import load_state, save_state
from antcli.training.ema import Ema


class NonFiniteLossError(ArithmeticError):
    """The loss or its gradient is no number; the weights are those of the step before."""

    def __init__(self, step: int, what: str = "loss") -> None:
        super().__init__(f"the {what} of step {step} is not a finite number")
        self.step = step


@dataclass(frozen=True)
class StepRecord:
    """What one step did."""

    step: int
    """Counted from 1: so many steps are done."""
    loss: float
    """Mean over the global batch."""
    learning_rate: float
    gradient_norm: float
    """Before clipping."""
    seconds: float


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear warm-up from a tenth, then a cosine down to the final share; `step` from 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (0.1 + 0.9 * step / config.warmup_steps)
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    fall = (1 - config.final_learning_rate) * (1 - math.cos(math.pi * min(1.0, progress))) / 2
    return config.learning_rate * (1 - fall)


def check_batch(config: TrainingConfig, accelerator: Accelerator) -> None:
    """Raise `AntError` where some process would have no image of the batch."""
    if config.batch_size < accelerator.num_processes:
        raise AntError(
            f"{accelerator.num_processes} processes cannot share a batch of {config.batch_size}",
            "start fewer processes or raise --batch-size",
            exit_code=2,
        )


class Training:
    """A network, its optimiser and its average; `steps` yields a record for each step done.

    `images` is [N, C, H, W], uint8 in 0..255 or float x_0: in [-1, 1] or latents. `mirrored` are
    the latents of the images' mirror images; without it, what `images` holds is mirrored. Draws
    are counted for each sample of the global batch, so the number of processes does not change
    them.
    """

    def __init__(
        self,
        network: Denoiser,
        images: Tensor,
        config: TrainingConfig,
        accelerator: Accelerator,
        *,
        seed: int = 0,
        mirrored: Tensor | None = None,
        noise: NoiseRule | None = None,
        target: TargetRule | None = None,
    ) -> None:
        check_batch(config, accelerator)
        self.path, self.images, self.config = network.convention.path, images, config
        self.mirrored = mirrored
        self.accelerator, self.seed = accelerator, seed
        self.noise, self.target = noise, target
        self.step = 0
        self.network = network.to(accelerator.device)
        if config.low_memory:
            network.unet.enable_gradient_checkpointing()
        self.parameters = network.trained()
        optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )
        # The wrapped network only takes the training step: what differentiates to the noise
        # or to x_t calls `network` itself, so that no process waits for another's gradients.
        self.wrapped, self.optimizer = accelerator.prepare(network, optimizer)
        self.ema = Ema(self.parameters, config.ema_decay)

    def steps(self) -> Iterator[StepRecord]:
        """Train to `config.steps`. Raises `NonFiniteLossError` before a bad step is taken."""
        while self.step < self.config.steps:
            started = time.perf_counter()
            rate = learning_rate(self.config, self.step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss, norm = self._step()
            self.step += 1
            self.ema.update(self.step)
            yield StepRecord(self.step, loss, rate, norm, time.perf_counter() - started)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the network has its averaged weights."""
        return self.ema.applied()

    def save(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write the state after the last step; `load` goes on from it."""
        optimizer = self.optimizer.optimizer
        save_state(path, self.parameters, self.ema, optimizer, self.step, metadata)

    def load(self, path: Path) -> None:
        """Go on from a state that `save` wrote."""
        optimizer = self.optimizer.optimizer
        self.step = load_state(path, self.parameters, self.ema, optimizer)

    def _step(self) -> tuple[float, float]:
        parts = [x.split(self._micro_batch) for x in self._draw()]
        last = len(parts[0]) - 1
        total = torch.zeros((), device=self.accelerator.device)
        for i, (x_0, t, eps) in enumerate(zip(*parts, strict=True)):
            # Processes exchange their gradients once, with the last part.
            waiting = self.accelerator.no_sync(self.wrapped) if i < last else nullcontext()
            with waiting:
                loss = self._loss(x_0, t, eps)
                self.accelerator.backward(loss)
            total += loss.detach()
        return self._update(self.accelerator.reduce(total, "mean").item())

    @property
    def _micro_batch(self) -> int:
        return self.config.micro_batch or (1 if self.config.low_memory else self.config.batch_size)

    def _loss(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """What these images add to the mean over the global batch, times the processes."""
        if self.noise is not None:
            with self.accelerator.autocast():
                eps = self.noise(eps, x_0, t, self.network)
        x_t = self.path.add_noise(x_0, eps, t)
        target = eps if self.target is None else self.target(eps, x_t, t)
        residual = self.wrapped(x_t, t).float() - target
        weight = self.path.weight(t, x_t, self.network.convention.prediction)
        # Parts and processes may hold unequal shares: weigh each so that the sum over parts of
        # the mean over processes, which is what is taken, is the mean over the global batch.
        share = len(t) * self.accelerator.num_processes / self.config.batch_size
        return (weight * residual.square()).mean() * share

    def _update(self, loss: float) -> tuple[float, float]:
        """Take the step; the loss and the norm of its gradient."""
        if not math.isfinite(loss):
            self.optimizer.zero_grad()
            raise NonFiniteLossError(self.step + 1)
        norm = self.accelerator.clip_grad_norm_(self.parameters.values(), self.config.clip_norm)
        # In fp16 the scaler passes over such a step itself, and tries a smaller scale.
        if self.accelerator.scaler is None and not math.isfinite(norm):
            self.optimizer.zero_grad()
            raise NonFiniteLossError(self.step + 1, "gradient")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, float(norm)

    def _draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """The share of this process in the global batch: x_0 in [-1, 1], t and eps."""
        size, device = self.config.batch_size, self.accelerator.device
        own = range(size)[self.accelerator.process_index :: self.accelerator.num_processes]
        mine = list(own)

        def draw(stream: str) -> torch.Generator:
            return generator(self.seed, stream, self.step)

        chosen = balanced_choice(len(self.images), size, draw("images"))[mine]
        t = self.path.antithetic(size, draw("timesteps"), self.network.below)[mine]
        x_0 = to_float(self.images[chosen])
        if self.config.flip:
            flipped = torch.rand(size, generator=draw("flips"))[mine] < 0.5
            mirrored = x_0.flip(-1) if self.mirrored is None else to_float(self.mirrored[chosen])
            x_0 = torch.where(flipped[:, None, None, None], mirrored, x_0)
        eps = normal(self.seed, "noise", self.step, own, x_0.shape[1:])
        return x_0.to(device), t.to(device), eps.to(device)
