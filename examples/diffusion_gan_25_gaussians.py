"""The 25 Gaussians of the Diffusion-GAN paper (Wang et al., ICLR 2023), a plain GAN beside it.

    python examples/diffusion_gan_25_gaussians.py [--out examples/figures] [--seeds 3]

Both GANs have the same networks, data and steps: two hidden layers of 128 with LeakyReLU, as in the
paper, which leaves rates, betas and steps open; those below are ours. The noise before the critic,
its list of t and its controller are the package's own. The plain GAN's critic is told t = 0.
Prints and draws which modes were found, how many samples lie near one, and what T did.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from toy_figures import FIGURES, draw_modes

from antcli.distilling.diffusion_noise import DiffusionNoise, DiffusionNoiseSettings, Move
from antcli.randomness import generator, seeded

PLACES = (-1.0, -0.5, 0.0, 0.5, 1.0)
MODES = torch.tensor(list(itertools.product(PLACES, PLACES)))
SPREAD = 0.0125
"""Standard deviation of each mode, a fortieth of the way to the next."""
NEAR = 3 * SPREAD
"""How far a sample may lie from a mode that it counts for."""
SAMPLES = 2500
LATENT, WIDTH, BATCH, STEPS = 2, 128, 128, 6000
RATES = (5e-4, 2e-3)
"""Of generator and critic. A critic that learns faster is soon sure."""
ZOOM = 4.0
"""Of the points in the critic's eyes: between modes its first layer has room to turn."""
PROCESSES = 2
NOISE = DiffusionNoiseSettings(prior="uniform", t_max=500, d_target=0.4)
"""What the paper recommends for new data, but for `d_target`: this critic is rarely so sure as 0.6,
and T would stay at its least. The paper has 0.2 to 0.8, by the data.
"""


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Of generator and critic alike."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((inputs, WIDTH, WIDTH)):
        layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(WIDTH, outputs))


@dataclass(frozen=True)
class Found:
    """What a GAN draws at the end."""

    samples: Tensor
    """[2500, 2]."""
    history: tuple[Move, ...]
    """Of T; empty without noise."""

    @property
    def counts(self) -> Tensor:
        """How many samples lie near each mode, [25]."""
        far, nearest = torch.cdist(self.samples, MODES).min(1)
        return torch.bincount(nearest[far < NEAR], minlength=len(MODES))

    @property
    def modes(self) -> int:
        """That have a sample near them."""
        return int((self.counts > 0).sum())

    @property
    def near(self) -> float:
        """Share of the samples that lie near a mode."""
        return float(self.counts.sum()) / len(self.samples)


class Gan:
    """A generator of points and its critic; without `noise`, a plain GAN."""

    def __init__(self, seed: int, noise: DiffusionNoise | None) -> None:
        self.seed, self.noise = seed, noise
        with seeded(seed):
            self.generator, self.critic = network(LATENT, 2), network(3, 1)
        parts = zip((self.generator, self.critic), RATES, strict=True)
        self.optimizers = [
            torch.optim.Adam(part.parameters(), rate, betas=(0.5, 0.99), fused=True)
            for part, rate in parts
        ]

    def train(self, steps: int) -> Found:
        """A step of the critic, then one of the generator, so many times."""
        of_generator, of_critic = self.optimizers
        for step in range(steps):
            draw = generator(self.seed, "gan", step)
            real = MODES[torch.randint(len(MODES), (BATCH,), generator=draw)]
            real = real + SPREAD * torch.randn(BATCH, 2, generator=draw)
            fake = self.generator(torch.randn(BATCH, LATENT, generator=draw))
            logits = self.logits(torch.cat([real, fake.detach()]), draw)
            of_real, of_fake = logits.chunk(2)
            loss = functional.softplus(-of_real).mean() + functional.softplus(of_fake).mean()
            _take(of_critic, loss)
            if self.noise is not None:
                self.noise.observe(of_real)
                self.noise.advance(BATCH)
            _take(of_generator, functional.softplus(-self.logits(fake, draw)).mean())
        history = () if self.noise is None else tuple(self.noise.history)
        return Found(self.sample(), history)

    def logits(self, points: Tensor, draw: torch.Generator) -> Tensor:
        """What the critic says of points [B, 2], noised before, [B]."""
        t = torch.zeros(len(points), dtype=torch.long)
        if self.noise is not None:
            t = self.noise.draw(len(points), draw)
            points = self.noise(points, t, torch.randn(points.shape, generator=draw))
        return self.critic(torch.cat([ZOOM * points, t[:, None] / NOISE.t_max], 1))[:, 0]

    @torch.no_grad()
    def sample(self) -> Tensor:
        """[2500, 2]."""
        draw = generator(self.seed, "samples")
        return self.generator(torch.randn(SAMPLES, LATENT, generator=draw))


def _take(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def trained(job: tuple[str, int]) -> Found:
    """The GAN of a name and a seed, in a process of its own."""
    torch.set_num_threads(1)
    name, seed = job
    noise = DiffusionNoise(NOISE, seed) if name == "Diffusion-GAN" else None
    return Gan(seed, noise).train(STEPS)


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIGURES)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Found]] = {"GAN": [], "Diffusion-GAN": []}
    jobs = list(itertools.product(found, range(chosen.seeds)))
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for (name, seed), one in zip(jobs, pool.imap(trained, jobs), strict=True):
            found[name].append(one)
            print(f"{name:13} seed {seed}: {one.modes:2} of 25 modes, {one.near:.0%} near one")
    draw_modes(found, MODES, NOISE.d_target, chosen.out / "diffusion_gan_25_gaussians.png")


if __name__ == "__main__":
    main()
