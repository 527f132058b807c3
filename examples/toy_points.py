"""Clouds of points in the plane, and small networks of them, for `toy_gaussian.py`.

A cloud is an image of two channels with a pixel for each point, [B, 2, N, 1], and a network of 1x1
convolutions takes each point for itself: so all of the package works on points.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional

from antcli.config import TrainingConfig
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.examples import Latents
from antcli.methods.build import Objective
from antcli.methods.trainable.tuned import TunedDenoiser
from antcli.randomness import generator, seeded
from antcli.training.loop import Training

SOURCE, TARGET, SHOTS = 1.0, -1.0, 10
"""Both coordinates of the two means, and the points that are given."""
PRETRAINING = TrainingConfig(
    steps=1500, batch_size=16, learning_rate=2e-3, final_learning_rate=0.0, weight_decay=0.0,
    flip=False,
)  # fmt: skip
CLASSIFIER_STEPS = 300


class Network(nn.Module):
    """Of x_t [B, 2, N, 1] and t [B], two numbers for each point, also [B, 2, N, 1]."""

    def __init__(self, seed: int, width: int = 64) -> None:
        super().__init__()
        with seeded(seed):
            self.first = nn.Conv2d(4, width, 1)
            self.second = nn.Conv2d(width, width, 1)
            self.output = nn.Conv2d(width, 2, 1)

    def forward(self, x_t: Tensor, t: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        """As the networks of diffusers answer; it is told alpha and sigma in the place of t."""
        level = torch.cat(PLAIN.path.alpha_sigma(t, x_t), dim=1)
        h = torch.cat([x_t, level.expand(-1, -1, *x_t.shape[2:])], dim=1)
        h = functional.silu(self.second(functional.silu(self.first(h))))
        return (self.output(h),)


class Classifier(nn.Module):
    """Logits [source, target] for each point, [B, 2, N, 1]."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.network = Network(seed)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Of noised points."""
        return self.network(x_t, t)[0]


class KnowingClassifier(nn.Module):
    """Of the two Gaussians themselves: log densities, which at every t have variance 1."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """[B, 2, N, 1], up to a constant."""
        alpha, _ = PLAIN.path.alpha_sigma(t, x_t)
        logits = [(x_t - alpha * mean).square().sum(1) / -2 for mean in (SOURCE, TARGET)]
        return torch.stack(logits, dim=1)


def cloud(mean: float, seed: int, stream: str, *shape: int) -> Tensor:
    """Points of N((mean, mean), I), [B, 2, N, 1] for a shape of B and N."""
    clouds, points = shape
    return mean + torch.randn(clouds, 2, points, 1, generator=generator(seed, stream))


def ten_shots(seed: int) -> Tensor:
    """The points that are given, [1, 2, 10, 1]."""
    return cloud(TARGET, seed, "shots", 1, SHOTS)


def training_of(
    network: nn.Module, clouds: Tensor, config: TrainingConfig, seed: int, of: Objective
) -> Training:
    """The package's loop, on this network itself."""
    denoiser = TunedDenoiser(network, PLAIN)
    accelerator = Accelerator(cpu=True)
    return Training(denoiser, Latents(clouds), config, accelerator, seed=seed, objective=of)


def pretrain_source(seed: int = 0) -> Network:
    """The network that knows the source."""
    network = Network(seed)
    clouds = cloud(SOURCE, seed, "source", 1000, 32)
    for _ in training_of(network, clouds, PRETRAINING, seed, Objective()).steps():
        pass
    return network


def train_classifier(shots: Tensor, seed: int) -> Classifier:
    """Source against the ten, noised to every t."""
    classifier, draw = Classifier(seed), generator(seed, "classifier")
    optimizer = torch.optim.AdamW(classifier.parameters(), 1e-3, weight_decay=0.05)
    labels = torch.tensor([0, 1]).repeat_interleave(16).expand(16, -1)[..., None]
    for step in range(CLASSIFIER_STEPS):
        chosen = torch.randint(SHOTS, (16, 16), generator=draw)
        ten = shots[0, :, :, 0].T[chosen].transpose(1, 2)[..., None]
        x_0 = torch.cat([cloud(SOURCE, seed, f"classifier/{step}", 16, 16), ten], dim=2)
        t = PLAIN.path.uniform(16, draw)
        x_t = PLAIN.path.add_noise(x_0, torch.randn(x_0.shape, generator=draw), t)
        optimizer.zero_grad()
        functional.cross_entropy(classifier(x_t, t), labels).backward()
        optimizer.step()
    return classifier.requires_grad_(False)
