"""The training loop of ANT as its authors published it, written anew from facts about their code.

What sets it apart from `--method ant`: every inner step draws t anew; its gradient goes through the
network once and then is the residual alone, but each of the ten steps runs a whole backward pass,
through blocks that are checkpointed, in which all that trains receives a gradient (on several
processes each of them exchanges these); the step of omega is divided by the batch; guidance has
the coefficient 1 - alpha_bar; and the images are drawn once for all steps.

Less literal, each in its favour: the batch is all ten images (theirs are five for each of eight
GPUs), adaptors are the package's (zero at first, no dropout), the classifier is the package's, and
the averaged weights are what is sampled, adaptors included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from antcli.methods.noise.adversarial import normalise
from antcli.methods.target.guided import coefficient, log_likelihood_gradient
from antcli.methods.trainable.adaptors import AdaptedDenoiser
from antcli.randomness import generator
from antcli.training.checkpoints import Trained
from antcli.training.ema import Ema

ADAPTOR: dict[str, Any] = {"width": 16, "heads": 2, "pooling": 4, "t_limit": 1.0}
"""As its configuration of a DDPM has them."""


@dataclass(frozen=True)
class Published:
    """Its settings."""

    learning_rate: float = 5e-5
    steps: int = 320
    warmup_steps: int = 10
    inner_steps: int = 10
    omega: float = 0.02
    gamma: float = 5.0


class PublishedTraining(Trained):
    """An adapted network on its way; `step` of its steps are done."""

    def __init__(
        self,
        network: AdaptedDenoiser,
        classifier: nn.Module,
        x_0: Tensor,
        published: Published,
        accelerator: Accelerator,
        seed: int,
    ) -> None:
        self.network, self.classifier, self.published = network, classifier, published
        self.x_0, self.accelerator, self.seed, self.step = x_0, accelerator, seed, 0
        self.path = network.convention.path
        network.unet.enable_gradient_checkpointing()
        parameters = network.trained()
        optimizer = torch.optim.AdamW(parameters.values(), betas=(0.5, 0.999), weight_decay=0.01)
        super().__init__(parameters, Ema(parameters, 0.9), optimizer)

    def steps(self) -> Iterator[int]:
        """To the end; yields how many are done."""
        while self.step < self.published.steps:
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate()
            eps, t = self._hard_noise(generator(self.seed, "published", self.step))
            x_t = self.path.add_noise(self.x_0, eps, t)
            gradient = log_likelihood_gradient(self.classifier, x_t, t)
            shift = self.published.gamma * coefficient(self.path, t, x_t, "code") * gradient
            self.optimizer.zero_grad()
            _summed(eps - shift - self._predict(x_t, t)).backward()
            nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
            self.optimizer.step()
            self.step += 1
            self.ema.update(self.step)
            yield self.step

    def _rate(self) -> float:
        """Warm-up from a tenth, and a cosine to a half."""
        published = self.published
        warm = min(1.0, 0.1 + 0.9 * self.step / published.warmup_steps)
        fall = 0.75 + 0.25 * math.cos(math.pi * self.step / published.steps)
        return published.learning_rate * warm * fall

    def _hard_noise(self, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise after the inner steps, and a t that is drawn once more."""
        eps = torch.randn(self.x_0.shape, generator=draw)
        for inner in range(self.published.inner_steps):
            eps = eps.detach().requires_grad_()
            t = self.path.antithetic(len(eps), draw)
            x_t = self.path.add_noise(self.x_0, eps, t)
            _summed(eps - self._predict(x_t if inner == 0 else x_t.detach(), t)).backward()
            assert eps.grad is not None
            eps = normalise(eps.detach() + self.published.omega * eps.grad)
        return eps.detach(), self.path.antithetic(len(eps), draw)

    def _predict(self, x_t: Tensor, t: Tensor) -> Tensor:
        with self.accelerator.autocast():
            return self.network(x_t, t).float()


def _summed(residual: Tensor) -> Tensor:
    """|residual|^2, the mean over the batch."""
    return residual.square().flatten(1).sum(1).mean()
