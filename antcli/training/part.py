"""One thing that trains: its network, objective, optimiser and average, and the step it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from antcli.config import TrainingConfig
from antcli.methods.build import Objective
from antcli.methods.choice import Step
from antcli.training.checkpoints import Trained
from antcli.training.ema import Ema


class NonFiniteLossError(ArithmeticError):
    """The loss or its gradient is no number; the weights are those of the step before."""

    def __init__(self, step: int, what: str = "loss") -> None:
        super().__init__(f"the {what} of step {step} is not a finite number")
        self.step = step


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear warm-up from a tenth, then a cosine down to the final share; `step` from 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (0.1 + 0.9 * step / config.warmup_steps)
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    fall = (1 - config.final_learning_rate) * (1 - math.cos(math.pi * min(1.0, progress))) / 2
    return config.learning_rate * (1 - fall)


class Part(Trained):
    """Something that trains: a network, its objective, its optimiser and its average.

    An objective is asked twice in a step: `prepared` for what is fixed before any gradient, and
    `loss` for the loss. `config` gives its learning rate and all else of its optimiser; `faster`,
    by the beginnings of names, what that rate is multiplied by of some parameters.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        config: TrainingConfig,
        accelerator: Accelerator,
        parameters: Mapping[str, nn.Parameter] | None = None,
        faster: Mapping[str, float] | None = None,
    ) -> None:
        self.network = network.to(accelerator.device)
        self.objective, self.config, self.accelerator = objective, config, accelerator
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        parameters = trained if parameters is None else parameters
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in parameters.items():
            named = (times for start, times in (faster or {}).items() if name.startswith(start))
            groups.setdefault(next(named, 1.0), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [{"params": own, "times": times} for times, own in groups.items()],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            # One kernel in the place of some thousands.
            fused=True if accelerator.device.type == "cuda" else None,
        )
        # The wrapped network only takes the training step: what differentiates to the noise
        # or to x_t calls `network` itself, so that no process waits for another's gradients.
        self.wrapped, self.stepping = accelerator.prepare(network, optimizer)
        super().__init__(parameters, Ema(parameters, config.ema_decay), optimizer)

    def update(self, steps: Sequence[Step], done: int) -> tuple[float, float | None, float]:
        """Take step `done` + 1: the loss, the norm of its gradient, the learning rate.

        `steps` are the parts of this process' share of the batch.
        """
        rate = learning_rate(self.config, done)
        for group in self.stepping.param_groups:
            group["lr"] = rate * group["times"]
        loss, norm = self._take(self.backward(steps), done + 1)
        self.ema.update(done + 1)
        return loss, norm, rate

    def backward(self, steps: Sequence[Step]) -> Tensor:
        """The loss, its gradient gathered; the host waits for nothing in it."""
        with self.objective.at_hand(self.accelerator.device):
            ready = [self.objective.prepared(step) for step in steps]
        total = torch.zeros((), device=self.accelerator.device)
        for i, (step, target) in enumerate(ready):
            # Processes exchange their gradients once, with the last part.
            last = i == len(ready) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                # Parts and processes may hold unequal shares: weigh each so that the sum over
                # parts of the mean over processes, which is what is taken, is the mean over the
                # global batch.
                share = len(step.t) * self.accelerator.num_processes / self.config.batch_size
                # Maps that are computed again on the way back are of the same conditions.
                with step.asked():
                    loss = self.objective.loss(step, target) * share
                    self.accelerator.backward(loss)
            total += loss.detach()
        reduced: Tensor = self.accelerator.reduce(total, "mean")
        return reduced

    def _take(self, total: Tensor, step: int) -> tuple[float, float | None]:
        """Take the step; the loss and the norm of its gradient, where that is finite.

        The host reads both at once: a bad step must not be taken.
        """
        clipped = self.accelerator.clip_grad_norm_(self.parameters.values(), self.config.clip_norm)
        loss, norm = torch.stack([total, clipped]).tolist()
        if not math.isfinite(loss):
            self.stepping.zero_grad()
            raise NonFiniteLossError(step)
        finite = math.isfinite(norm)
        # In fp16 the scaler passes over such a step itself, and tries a smaller scale.
        if self.accelerator.scaler is None and not finite:
            self.stepping.zero_grad()
            raise NonFiniteLossError(step, "gradient")
        self.stepping.step()
        self.stepping.zero_grad()
        return loss, norm if finite else None
