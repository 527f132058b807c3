"""Training the noise-aware classifier, and measuring it on images it has not seen."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional

from antcli.diffusion.examples import Examples
from antcli.diffusion.path import Path
from antcli.diffusion.sampling import images_at_once
from antcli.methods.classifier import (
    LEVELS,
    TARGET_CLASS,
    Classifier,
    ClassifierConfig,
    new_classifier,
)
from antcli.processes import own_share, sum_gradients
from antcli.randomness import balanced_choice, generator, normal

NOISE_LEVELS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Shares of T at which the accuracy is reported."""
USELESS_BELOW = 0.6
VIEWS, LEAST_VIEWS = 200, 20
"""Noised views of each class at each noise level that it is checked at."""
PIXELS_VIEWED = VIEWS * 64 * 64
"""Larger images get fewer views: on a CPU, 200 of 256x256 would take minutes."""
SOME_STEPS = 100
"""A classifier that has been trained for fewer says nothing about the images."""
CONFIDENCES = torch.linspace(0.02, 1, 50)
"""Scales of the logits that calibration chooses from."""


@dataclass(frozen=True)
class ClassifierStep:
    """One training step."""

    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class ClassifierChecked:
    """At so many noise levels it has been calibrated or judged."""

    done: int
    total: int


@dataclass(frozen=True)
class NoiseLevel:
    """Accuracy at one timestep, on images the classifier was not trained on."""

    t: float
    source: float | None
    """Share of noised source images called source; None where none could be held out."""
    target: float | None
    """Share of noised target images called target; None where none could be held out."""


@dataclass(frozen=True)
class ClassifierReport:
    """How far the classifier can be trusted."""

    levels: tuple[NoiseLevel, ...]
    held_out_source: int
    held_out_target: int
    steps: int = SOME_STEPS
    """That it was trained for."""

    @property
    def best_accuracy(self) -> float | None:
        """The best mean of the two classes' accuracies, over the noise levels.

        None where a class could not be held out: one answer for all would be right on the other.
        """
        means = [
            (level.source + level.target) / 2
            for level in self.levels
            if level.source is not None and level.target is not None
        ]
        return max(means, default=None)

    @property
    def useless(self) -> bool:
        """Whether it is known to be near guessing at every noise level."""
        return self.best_accuracy is not None and self.best_accuracy < USELESS_BELOW

    @property
    def hardly_trained(self) -> bool:
        """Whether it has had too few steps to say anything about the images."""
        return self.steps < SOME_STEPS

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        judged = ("best_accuracy", "useless", "hardly_trained")
        return {**asdict(self), **{name: getattr(self, name) for name in judged}}


class ClassifierTraining:
    """Cross-entropy on noised x_t at all t, half of each batch from either class.

    All processes train it, each on its share of a batch; they come to the same weights.

    Of both classes `config.held_out` is held out for the report. `classifier` goes on from where it
    is; without it, a small one begins.
    """

    def __init__(
        self,
        source: Examples,
        target: Examples,
        path: Path,
        config: ClassifierConfig,
        accelerator: Accelerator,
        *,
        seed: int = 0,
        flip: bool = True,
        classifier: Classifier | None = None,
    ) -> None:
        self.path, self.config, self.seed = path, config, seed
        self.flip = flip
        self.accelerator, self.device = accelerator, accelerator.device
        self.training_images, self.held_out = zip(
            *(
                _split(examples, config.held_out, generator(seed, "held-out", label))
                for label, examples in enumerate((source, target))
            ),
            strict=True,
        )
        channels, size, _ = target.x_0.shape[1:]
        self.views = min(VIEWS, max(LEAST_VIEWS, PIXELS_VIEWED // size**2))
        self.at_once = images_at_once((channels, size, size), self.device)
        if classifier is None:
            classifier = new_classifier(size, seed, int(path.span), channels)
        self.classifier = classifier.to(self.device)

    def steps(self) -> Iterator[ClassifierStep]:
        """Train, one record a step."""
        config, classifier = self.config, self.classifier
        optimizer = torch.optim.AdamW(
            classifier.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        classifier.train()
        for step in range(config.steps):
            cosine = (1 + math.cos(math.pi * step / config.steps)) / 2
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * (0.1 + 0.9 * cosine)
            optimizer.zero_grad()
            loss = self._backward(*self._batch(step))
            nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
            optimizer.step()
            yield ClassifierStep(step + 1, config.steps, loss)
        classifier.eval().requires_grad_(False)

    def _backward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> float:
        """The mean loss of a batch; its gradient, gathered from as many images as fit at once."""
        size, total = len(labels), torch.zeros((), device=self.device)
        own = list(own_share(self.accelerator, range(size)))
        mine = [x[own].split(self.at_once) for x in (x_t, t, labels) if own]
        for part in zip(*mine, strict=True):
            logits = self.classifier(part[0], part[1])
            loss = functional.cross_entropy(logits, part[2]) * (len(logits) / size)
            loss.backward()
            total += loss.detach()
        sum_gradients(self.accelerator, list(self.classifier.parameters()))
        return float(self.accelerator.reduce(total, "sum"))

    def report(self) -> ClassifierReport:
        """What `checked` returns."""
        checking = self.checked()
        while True:
            try:
                next(checking)
            except StopIteration as end:
                return end.value

    def checked(self) -> Generator[ClassifierChecked, None, ClassifierReport]:
        """Calibrate on held-out images, then measure the accuracy on them at each noise level."""
        calibrated = all(len(examples) for examples in self.held_out)
        total = len(NOISE_LEVELS) + (LEVELS if calibrated else 0)
        self.classifier.confidence.fill_(1)
        for level in range(LEVELS) if calibrated else ():
            self._calibrate(level)
            yield ClassifierChecked(level + 1, total)
        levels = []
        for share in NOISE_LEVELS:
            t = self.path.at(share)
            source, target = (self._accuracy(label, t) for label in range(2))
            levels.append(NoiseLevel(t, source, target))
            yield ClassifierChecked(total - len(NOISE_LEVELS) + len(levels), total)
        source_images, target_images = (len(examples) for examples in self.held_out)
        return ClassifierReport(tuple(levels), source_images, target_images, self.config.steps)

    def _calibrate(self, level: int) -> None:
        """Set the confidence at a noise level to what held-out images bear out.

        It minimises their cross-entropy over a scale of the logits (temperature scaling, Guo et
        al. 2017, section 4.2). Logits are only ever scaled down: few images cannot justify more.
        """
        t = self.path.at(level / (LEVELS - 1))
        margins = torch.cat([sign * self._margins(label, t) for label, sign in ((0, -1), (1, 1))])
        losses = functional.softplus(-CONFIDENCES[:, None] * margins.cpu()).mean(1)
        self.classifier.confidence[level] = CONFIDENCES[losses.argmin()]

    def _accuracy(self, label: int, t: float) -> float | None:
        if len(self.held_out[label]) == 0:
            return None
        called_target = self._margins(label, t) > 0
        return (called_target == bool(label)).float().mean().item()

    @torch.no_grad()
    def _margins(self, label: int, t: float) -> Tensor:
        """Target's logit less source's, of noised held-out images of a class, [views]."""
        held_out, views = self.held_out[label], self.views
        chosen = balanced_choice(len(held_out), views, generator(self.seed, "views", label))
        x_0 = held_out.take(chosen, torch.zeros(views, dtype=torch.bool)).to(self.device)
        ts = torch.full((views,), t, device=self.device)
        told = self.path.network_time(ts)
        eps = normal(
            self.seed,
            "report",
            int(self.path.network_time(torch.tensor(t))),
            range(views),
            x_0.shape[1:],
        )
        x_t = self.path.add_noise(x_0, eps.to(self.device), ts)
        parts = zip(x_t.split(self.at_once), told.split(self.at_once), strict=True)
        logits = torch.cat([self.classifier(x, t_part) for x, t_part in parts])
        return logits[:, TARGET_CLASS] - logits[:, 1 - TARGET_CLASS]

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        half = self.config.batch_size // 2
        size, draw = 2 * half, generator(self.seed, "classifier", step)
        mirror = torch.zeros(size, dtype=torch.bool)
        if self.flip:
            mirror = torch.rand(size, generator=draw) < 0.5
        x_0 = torch.cat(
            [
                examples.take(
                    balanced_choice(len(examples), half, generator(self.seed, "classify", step, i)),
                    mirror[i * half : (i + 1) * half],
                )
                for i, examples in enumerate(self.training_images)
            ]
        )
        t = self.path.uniform(size, draw)
        eps = torch.randn(x_0.shape, generator=draw)
        x_t = self.path.add_noise(x_0, eps, t)
        labels = torch.arange(2).repeat_interleave(half)
        return (
            x_t.to(self.device),
            self.path.network_time(t).to(self.device),
            labels.to(self.device),
        )


def _split(examples: Examples, share: float, draw: torch.Generator) -> tuple[Examples, Examples]:
    """What is trained on, and the share that is held out, in whole images."""
    order = torch.randperm(len(examples), generator=draw)
    held_out = int(share * len(examples))
    return examples.part(order[held_out:]), examples.part(order[:held_out])
