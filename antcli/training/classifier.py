"""Training the noise-aware classifier, and measuring it on images it has not seen."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from antcli.artifacts import load_metadata, load_tensors, save_tensors
from antcli.config import ClassifierConfig
from antcli.diffusion.path import Path as NoisePath
from antcli.diffusion.sampling import images_at_once
from antcli.errors import AntError
from antcli.images.grid import to_float
from antcli.methods.classifier import LEVELS, Classifier, NoisyClassifier, new_classifier
from antcli.methods.guidance import TARGET_CLASS
from antcli.methods.imagenet_classifier import EncoderShape, ImageNetClassifier
from antcli.randomness import balanced_choice, generator, normal

NOISE_LEVELS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Shares of T at which the accuracy is reported."""
USELESS_BELOW = 0.6
VIEWS = 200
"""Noised views of each class at each reported noise level."""
KIND = "classifier"
SMALL, IMAGENET = "small", "imagenet"
"""Architectures."""
CONFIDENCES = torch.linspace(0.02, 1, 50)
"""Scales of the logits that calibration chooses from."""


@dataclass(frozen=True)
class ClassifierStep:
    """One training step."""

    step: int
    steps: int
    loss: float


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

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "best_accuracy": self.best_accuracy, "useless": self.useless}


class ClassifierTraining:
    """Cross-entropy on noised x_t at all t, half of each batch from either class.

    `source_images` and `target_images` are uint8 [N, C, H, W], or latents. A fifth of each is
    held out for the report; of fewer than five images none is. `classifier` goes on from where
    it is; without it, a small one begins.
    """

    def __init__(
        self,
        source_images: Tensor,
        target_images: Tensor,
        path: NoisePath,
        config: ClassifierConfig,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        flip: bool = True,
        classifier: Classifier | None = None,
    ) -> None:
        self.path, self.config, self.seed = path, config, seed
        self.flip = flip
        self.device = torch.device(device)
        self.training_images, self.held_out = zip(
            *(
                _split(images, generator(seed, "held-out", label))
                for label, images in enumerate((source_images, target_images))
            ),
            strict=True,
        )
        channels, size, _ = target_images.shape[1:]
        self.at_once = images_at_once((channels, size, size))
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
        self._calibrate()

    def _backward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> float:
        """The mean loss of a batch; its gradient, gathered from as many images as fit at once."""
        total = 0.0
        for part in zip(*(x.split(self.at_once) for x in (x_t, t, labels)), strict=True):
            logits = self.classifier(part[0], part[1])
            loss = functional.cross_entropy(logits, part[2]) * (len(logits) / len(labels))
            loss.backward()
            total += loss.item()
        return total

    @torch.no_grad()
    def report(self) -> ClassifierReport:
        """Accuracy at each noise level, on the held-out images."""
        levels = []
        for share in NOISE_LEVELS:
            t = self.path.at(share)
            source, target = (self._accuracy(label, t) for label in range(2))
            levels.append(NoiseLevel(t, source, target))
        return ClassifierReport(tuple(levels), len(self.held_out[0]), len(self.held_out[1]))

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Set the confidence at each noise level to what held-out images bear out.

        It minimises their cross-entropy over a scale of the logits (temperature scaling, Guo et
        al. 2017, section 4.2). Logits are only ever scaled down: few images cannot justify more.
        """
        if any(len(images) == 0 for images in self.held_out):
            return
        for level in range(LEVELS):
            t = self.path.at(level / (LEVELS - 1))
            margins = torch.cat(
                [sign * self._margins(label, t) for label, sign in ((0, -1), (1, 1))]
            )
            losses = functional.softplus(-CONFIDENCES[:, None] * margins.cpu()).mean(1)
            self.classifier.confidence[level] = CONFIDENCES[losses.argmin()]

    def _accuracy(self, label: int, t: float) -> float | None:
        if len(self.held_out[label]) == 0:
            return None
        called_target = self._margins(label, t) > 0
        return (called_target == bool(label)).float().mean().item()

    def _margins(self, label: int, t: float) -> Tensor:
        """Target's logit less source's, of noised held-out images of a class, [VIEWS]."""
        images = self.held_out[label]
        chosen = balanced_choice(len(images), VIEWS, generator(self.seed, "views", label))
        x_0 = to_float(images[chosen]).to(self.device)
        ts = torch.full((VIEWS,), t, device=self.device)
        told = self.path.told(ts)
        eps = normal(self.seed, "report", int(told[0]), range(VIEWS), x_0.shape[1:])
        x_t = self.path.add_noise(x_0, eps.to(self.device), ts)
        parts = zip(x_t.split(self.at_once), told.split(self.at_once), strict=True)
        logits = torch.cat([self.classifier(x, t_part) for x, t_part in parts])
        return logits[:, TARGET_CLASS] - logits[:, 1 - TARGET_CLASS]

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        half = self.config.batch_size // 2
        size = 2 * half
        chosen = [
            images[balanced_choice(len(images), half, generator(self.seed, "classify", step, i))]
            for i, images in enumerate(self.training_images)
        ]
        draw = generator(self.seed, "classifier", step)
        x_0 = to_float(torch.cat(chosen))
        if self.flip:
            flipped = torch.rand(size, generator=draw) < 0.5
            x_0 = torch.where(flipped[:, None, None, None], x_0.flip(-1), x_0)
        t = self.path.uniform(size, draw)
        eps = torch.randn(x_0.shape, generator=draw)
        x_t = self.path.add_noise(x_0, eps, t)
        t = self.path.told(t)
        labels = torch.arange(2).repeat_interleave(half)
        return x_t.to(self.device), t.to(self.device), labels.to(self.device)


def save_classifier(path: Path, classifier: Classifier, metadata: dict[str, Any]) -> None:
    """Write a classifier as safetensors, its architecture in the metadata."""
    kind = {
        "ant.kind": KIND,
        "ant.architecture": SMALL,
        "ant.size": str(classifier.size),
        "ant.channels": str(classifier.channels),
        "ant.timesteps": str(classifier.timesteps),
    }
    if isinstance(classifier, ImageNetClassifier):
        kind |= {"ant.architecture": IMAGENET, "ant.encoder": json.dumps(asdict(classifier.shape))}
    save_tensors(path, classifier.state_dict(), {**kind, **metadata})


def check_classifier(path: Path, size: int, channels: int = 3) -> dict[str, str]:
    """Metadata of a classifier file. Raises `AntError` where it cannot serve x_t of this shape."""
    metadata = load_metadata(path)
    if metadata.get("ant.kind") != KIND:
        raise AntError(f"{path} is no classifier", "`ant train-classifier` writes one")
    if metadata.get("ant.size") != str(size):
        raise AntError(
            f"{path} classifies {metadata.get('ant.size')}-pixel images, the source makes {size}",
            "train one for this source with `ant train-classifier`",
        )
    if metadata.get("ant.channels", "3") != str(channels):
        raise AntError(
            f"{path} classifies {metadata.get('ant.channels', '3')} channels, the source has "
            f"{channels}",
            "train one for this source with `ant train-classifier`",
        )
    try:
        with torch.device("meta"):
            _untrained(metadata)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise AntError(
            f"{path} does not tell what classifier it holds",
            "train it again with `ant train-classifier`",
        ) from error
    return metadata


def load_classifier(path: Path, size: int, channels: int = 3) -> Classifier:
    """A trained classifier, frozen, in eval mode, on the CPU."""
    classifier = _untrained(check_classifier(path, size, channels))
    try:
        classifier.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        raise AntError(
            f"{path} holds another kind of classifier", "`ant train-classifier` writes one"
        ) from error
    return classifier.eval().requires_grad_(False)


def _untrained(metadata: dict[str, str]) -> Classifier:
    """Of the architecture that a file tells; the first files did not, and all were small."""
    timesteps = int(metadata["ant.timesteps"])
    if metadata.get("ant.architecture", SMALL) == SMALL:
        size, channels = int(metadata["ant.size"]), int(metadata.get("ant.channels", "3"))
        return NoisyClassifier(size, timesteps, channels)
    shape = dict(json.loads(metadata["ant.encoder"]))
    lists = {name: tuple(value) for name, value in shape.items() if isinstance(value, list)}
    return ImageNetClassifier(EncoderShape(**shape | lists), timesteps)


def _split(images: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A fifth of the images, none of fewer than five, is held out."""
    order = torch.randperm(len(images), generator=draw)
    held_out = len(images) // 5
    return images[order[held_out:]], images[order[:held_out]]
