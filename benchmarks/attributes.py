"""A small network that reads the attributes of a drawing: the benchmark's judge.

    python benchmarks/attributes.py      trains it and prints how well it reads

Its 64 features are the space of the Frechet distance. It is trained on drawings of every
domain, from seeds that no source or target uses, and kept in benchmarks/.cache.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

from antcli.artifacts import load_tensors, save_tensors
from antcli.drawn_faces.domains import avatar
from antcli.drawn_faces.people import (
    BACKGROUNDS,
    CLOTHES,
    HAIR_COLOURS,
    HAIR_STYLES,
    LENSES,
    MOUTHS,
    SKIN_TONES,
    Attributes,
)
from antcli.randomness import generator

CACHE = Path(__file__).parent / ".cache"
SIZE = 32
FEATURES = 64
TRAIN_SEEDS = range(2_000_000, 2_006_000)
SECOND_SEEDS = range(8_000_000, 8_006_000)
TEST_SEEDS = range(3_000_000, 3_000_200)
STEPS, BATCH = 2500, 128

DOMAINS = ("avatars", "sunglasses", "babies", "sketches", "paintings")
"""Those the judge has always known: another one would be another judge."""
CHOICES: dict[str, tuple[str, ...]] = {
    "domain": DOMAINS,
    "skin": tuple(SKIN_TONES),
    "hair_style": (*HAIR_STYLES, "tuft", "down"),
    "hair": tuple(HAIR_COLOURS),
    "clothes": tuple(CLOTHES),
    "background": tuple(BACKGROUNDS),
    "mouth": MOUTHS,
    "lenses": ("", *LENSES),
}
LENGTHS = ("head_x", "head_y", "head_width", "head_height", "eye_size", "eye_gap")


class AttributeNetwork(nn.Module):
    """Images [B, 3, 32, 32] in [-1, 1] to features [B, 64] and from these to attributes."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
                nn.GroupNorm(8, outputs),
                nn.SiLU(),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4, FEATURES))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(FEATURES, len(values)) for name, values in CHOICES.items()}
        )
        self.lengths = nn.Linear(FEATURES, len(LENGTHS))

    def features(self, x: Tensor) -> Tensor:
        """What the Frechet distance is taken in, [B, 64]."""
        return self.body(x)

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of each attribute."""
        h = functional.silu(self.features(x))
        return {name: head(h) for name, head in self.heads.items()}


class PooledNetwork(AttributeNetwork):
    """The same heads on wider filters, fewer channels and pooling instead of strides."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((3, 24, 48, 96)):
            layers += [nn.Conv2d(inputs, outputs, 5, padding=2), nn.GELU(), nn.AvgPool2d(2)]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 16, FEATURES))


def draw(seeds: Sequence[int], domain: str, size: int = SIZE) -> tuple[Tensor, list[Attributes]]:
    """Drawings as uint8 [N, 3, size, size], and the truth about them."""
    drawn = [avatar(seed, size, domain) for seed in seeds]
    pixels = numpy.stack([numpy.asarray(image) for image, _ in drawn])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), [who for _, who in drawn]


def to_float(images: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return images.float() / 127.5 - 1


def _labels(people: Sequence[Attributes], domain: str) -> tuple[dict[str, Tensor], Tensor]:
    classes = {
        name: torch.tensor(
            [values.index(domain if name == "domain" else getattr(who, name)) for who in people]
        )
        for name, values in CHOICES.items()
    }
    return classes, torch.tensor([[getattr(who, name) for name in LENGTHS] for who in people])


def _data(seeds: Sequence[int]) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    images, classes, lengths = [], [], []
    for domain in DOMAINS:
        pixels, people = draw(seeds, domain)
        labels, numbers = _labels(people, domain)
        images.append(pixels)
        classes.append(labels)
        lengths.append(numbers)
    joined = {name: torch.cat([labels[name] for labels in classes]) for name in CHOICES}
    return torch.cat(images), joined, torch.cat(lengths)


def train(network: AttributeNetwork, seeds: Sequence[int]) -> AttributeNetwork:
    """Train a judge; the same on every machine but for rounding."""
    images, classes, lengths = _data(seeds)
    mean, std = lengths.mean(0), lengths.std(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    decay = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    for step in range(STEPS):
        chosen = torch.randint(len(images), (BATCH,), generator=generator(0, "judge", step))
        # A little noise, so that the judge does not live on single pixels.
        x = to_float(images[chosen])
        x = x + 0.05 * torch.randn(x.shape, generator=generator(0, "judge-noise", step))
        h = functional.silu(network.features(x))
        losses = [
            functional.cross_entropy(head(h), classes[name][chosen])
            for name, head in network.heads.items()
        ]
        losses.append(functional.mse_loss(network.lengths(h), (lengths[chosen] - mean) / std))
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        decay.step()
    return network.eval().requires_grad_(False)


def judge() -> AttributeNetwork:
    """The trained judge, from the cache where this file has not changed since."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    file = CACHE / f"judge-{digest}.safetensors"
    torch.manual_seed(0)
    return _kept(AttributeNetwork(), TRAIN_SEEDS, file)


def second_judge() -> AttributeNetwork:
    """Of another architecture, trained on other drawings; nothing is ever chosen by it."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    torch.manual_seed(1)
    return _kept(PooledNetwork(), SECOND_SEEDS, CACHE / f"second-judge-{digest}.safetensors")


def _kept(network: AttributeNetwork, seeds: Sequence[int], file: Path) -> AttributeNetwork:
    if not file.exists():
        save_tensors(file, train(network, seeds).state_dict(), {})
    network.load_state_dict(load_tensors(file))
    return network.eval().requires_grad_(False)


def main() -> None:
    """Print the accuracy on drawings from other seeds."""
    network = judge()
    images, classes, _ = _data(TEST_SEEDS)
    found = network.read(to_float(images))
    for name, logits in found.items():
        print(f"{name}: {(logits.argmax(1) == classes[name]).float().mean():.3f}")


if __name__ == "__main__":
    main()
