"""What the benchmarks measure of a page of samples, against the truth about a drawn domain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from attributes import CHOICES, AttributeNetwork, draw, to_float
from PIL import Image
from torch import Tensor

from antcli.drawn_faces.domains import DOMAINS
from antcli.evaluation.frechet import Gaussian, frechet_distance
from antcli.evaluation.intra_lpips import intra_lpips
from antcli.evaluation.lpips import LpipsFeatures
from antcli.images.grid import to_uint8

HELD_OUT_SEEDS = range(1_000_000, 1_005_000)
READ = ("skin", "hair_style", "hair", "clothes", "background", "mouth")
"""Attributes whose entropy is the diversity."""


@dataclass(frozen=True)
class Reference:
    """Held-out drawings of a target domain, as the judge sees them."""

    domain: str
    gaussian: Gaussian
    entropy: float


def reference(domain: str, judge: AttributeNetwork) -> Reference:
    """From 5,000 drawings of seeds that nothing was trained on."""
    images = to_float(draw(HELD_OUT_SEEDS, domain)[0])
    return Reference(domain, Gaussian.fit(features(images, judge)), entropy(images, judge))


@torch.no_grad()
def features(images: Tensor, judge: AttributeNetwork) -> Tensor:
    """[N, 64] of images in [-1, 1]."""
    return torch.cat([judge.features(batch) for batch in images.split(500)])


@torch.no_grad()
def entropy(images: Tensor, judge: AttributeNetwork) -> float:
    """Mean over attributes of the entropy, in nats, of what the judge reads."""
    found = judge.read(images)
    total = 0.0
    for name in READ:
        share = torch.bincount(found[name].argmax(1), minlength=len(CHOICES[name])) / len(images)
        total += float(-(share * share.clamp(min=1e-12).log()).sum())
    return total / len(READ)


@torch.no_grad()
def measure(
    images: Tensor, ten: Tensor, judge: AttributeNetwork, truth: Reference
) -> dict[str, float]:
    """All measures of samples [N, 3, 32, 32] in [-1, 1], given the ten training images."""
    domain = list(DOMAINS).index(truth.domain)
    target = judge.read(images)["domain"].softmax(1)[:, domain].mean()
    both = torch.cat([ten, ten.flip(-1)])
    nearest = torch.cdist(images.flatten(1), both.flatten(1)).min(1).values.mean()
    return {
        "distance": frechet_distance(Gaussian.fit(features(images, judge)), truth.gaussian),
        "target_share": float(target),
        "diversity": entropy(images, judge) / truth.entropy,
        "nearest": float(nearest) / math.sqrt(images[0].numel()),
    }


def diversity_by_lpips(images: Tensor, folder: Path, trunk: LpipsFeatures) -> float | None:
    """Intra-LPIPS (cdc) of samples around the images of `folder`."""
    names = sorted(path.name for path in folder.iterdir())
    centres = [Image.open(folder / name).convert("RGB") for name in names]
    return intra_lpips(_pictures(images), centres, names, trunk).value


def _pictures(images: Tensor) -> Sequence[Image.Image]:
    return [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in to_uint8(images)]
