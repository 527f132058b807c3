"""The noise-aware classifier p(y | x_t): is a noised image of the source or of the target?"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn
from torch.nn import functional

from antcli.randomness import seeded
from antcli.settings import Count, NonNegative, Positive, settings

TARGET_CLASS = 1
"""The logits are [source, target]."""
FINE_TUNING_RATE = 1e-4
"""Of a pretrained classifier (ANT, section 5)."""
SMALLEST_MAP = 4
WIDTHS = (32, 64, 96, 128)
EMBEDDING = 128
LEVELS = 11
"""Noise levels, evenly from t = 0 to t = T-1, at which the confidence is set."""


@settings
class ClassifierConfig:
    """The noise-aware classifier and what it is trained on."""

    init: str = ""
    """A pretrained ImageNet classifier to go on from: imagenet-64, imagenet-256 or its file.
    Empty: a small one begins from nothing."""
    steps: Count = 300
    batch_size: Annotated[int, Ge(2)] = 64
    learning_rate: Positive = 1e-3
    """Where `init` is said, it is 1e-4 unless said as well."""
    weight_decay: NonNegative = 0.05
    source_samples: Annotated[int, Ge(5)] = 200
    """Drawn from the source model where no folder of source images is given."""
    sampling_steps: Count = 15
    held_out: Annotated[float, Ge(0), Le(0.5)] = 0.2
    """Share of each domain's images that it is calibrated and judged by, and not trained on; fewer
    than one image, or 0: it learns from all, and is neither calibrated nor judged."""

    @classmethod
    def normalised(cls, table: dict[str, Any]) -> dict[str, Any]:
        """What is pretrained has a learning rate of its own."""
        return {"learning_rate": FINE_TUNING_RATE, **table} if table.get("init") else table


class Classifier(nn.Module):
    """A classifier of x_t given t, with logits [source, target] that know how far to be trusted.

    A subclass gives the bare logits of x_t [B, channels, size, size]. t is below `timesteps`.
    """

    confidence: Tensor

    def __init__(self, size: int, timesteps: int, channels: int) -> None:
        super().__init__()
        self.size = size
        self.timesteps = timesteps
        self.channels = channels
        self.register_buffer("confidence", torch.ones(LEVELS))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """[B, C, H, W] and [B] to logits [B, 2]."""
        return self.logits(x_t, t) * self.confidence_at(t)[:, None]

    def logits(self, x_t: Tensor, t: Tensor) -> Tensor:
        """[B, C, H, W] and [B] to logits [B, 2], as sure of themselves as training left them."""
        raise NotImplementedError

    def confidence_at(self, t: Tensor) -> Tensor:
        """What multiplies the logits at t, [B]: 1 until the classifier is calibrated.

        A classifier that is sure of itself where it knows nothing turns guidance into noise, at
        the very steps where guidance is strongest. A calibrated one falls silent there.
        """
        place = t.to(self.confidence.dtype) / (self.timesteps - 1) * (LEVELS - 1)
        below = place.floor().long().clamp(max=LEVELS - 2)
        return torch.lerp(self.confidence[below], self.confidence[below + 1], place - below)


class Stage(nn.Module):
    """Two 3x3 convolutions, the first halving the map, shifted and scaled by the time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(8, outputs)
        self.time = nn.Linear(EMBEDDING, 2 * outputs)
        self.conv = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """[B, C, H, W] and [B, 128] to [B, C', H/2, W/2]."""
        h = self.halve(h)
        scale, shift = self.time(embedding)[:, :, None, None].chunk(2, dim=1)
        h = h + self.conv(functional.silu(self.norm(h) * (1 + scale) + shift))
        return functional.silu(h)


class NoisyClassifier(Classifier):
    """A small convolutional classifier, which trains from nothing.

    Halves the map until it is 4x4, whatever the size of the images.
    """

    def __init__(self, size: int, timesteps: int = 1000, channels: int = 3) -> None:
        super().__init__(size, timesteps, channels)
        stages = max(1, round(math.log2(size / SMALLEST_MAP)))
        widths = [WIDTHS[min(i, len(WIDTHS) - 1)] for i in range(stages + 1)]
        self.frequencies = Timesteps(32, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.embed = TimestepEmbedding(32, EMBEDDING)
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(Stage(a, b) for a, b in itertools.pairwise(widths))
        self.head = nn.Linear(widths[-1], 2)

    def logits(self, x_t: Tensor, t: Tensor) -> Tensor:
        """[B, C, H, W] and [B] to logits [B, 2]."""
        embedding = functional.silu(self.embed(self.frequencies(t).to(x_t.dtype)))
        h = self.stem(x_t)
        for stage in self.stages:
            h = stage(h, embedding)
        return self.head(h.mean((2, 3)))


def new_classifier(
    size: int, seed: int, timesteps: int = 1000, channels: int = 3
) -> NoisyClassifier:
    """An untrained classifier; equal seeds give equal weights."""
    with seeded(seed):
        return NoisyClassifier(size, timesteps, channels)
