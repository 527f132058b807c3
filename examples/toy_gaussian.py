"""The two-dimensional toy of the ANT paper (Wang et al., ICML 2024, section 5 and Figure 2).

    python examples/toy_gaussian.py [--out examples/figures] [--seeds 50]

A network that knows N((1, 1), I) is adapted to N((-1, -1), I) from ten points. Prints and draws the
paper's two figures: which way the first gradient points, and how samples come about. The paper does
not say its network, betas, classifier or rates; those below are ours. Everything of ANT is the
package's own: the adversarial noise, the guided target, the loss, the loop, the sampler.

Norm of Eq. 7 is here over a cloud of points at one t. Over one point it would leave of two numbers
nothing but (1, -1) or (-1, 1).
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from toy_figures import FIGURES, draw_gradients, draw_paths
from toy_points import (
    SHOTS,
    TARGET,
    KnowingClassifier,
    Network,
    cloud,
    pretrain_source,
    ten_shots,
    train_classifier,
    training_of,
)

from antcli.config import TrainingConfig
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.sampling import sample
from antcli.methods.build import Objective
from antcli.methods.choice import Step
from antcli.methods.noise.adversarial import AdversarialNoise, NoiseConfig
from antcli.methods.target.guided import GuidanceConfig, GuidedTarget
from antcli.methods.trainable.tuned import TunedDenoiser

LEVELS, POINTS = 10, 1000
"""The batch of 10,000 of the paper: so many t, evenly apart, and points at each."""
NOISE = NoiseConfig(inner_steps=10, omega=0.02, gradient="full")
GUIDANCE = GuidanceConfig(gamma=5.0)
TRANSFER = TrainingConfig(
    steps=300, batch_size=10, learning_rate=1e-4, weight_decay=0.0, ema_decay=0.9, flip=False
)
MARKED, DRAWN = 50, 150
"""Every so many steps samples are drawn; and the step whose paths the figure shows."""
SAMPLES, SAMPLING_STEPS = 20_000, 100
SETTINGS = ("10-shot", "+ guidance", "ANT")
TEN, KNOWS = "trained on the ten", "knows both Gaussians"
"""The classifiers that guide."""


# --- the first gradient ---------------------------------------------------------------------


@dataclass(frozen=True)
class FirstGradient:
    """Of the loss of the first iteration, to the bias of the output layer: two numbers."""

    direction: Tensor
    noise: Tensor
    """What was trained on, [B, 2, N, 1]."""

    def angle(self, other: FirstGradient) -> float:
        """Between the two directions, in degrees."""
        return angle(self.direction, other.direction)


def angle(a: Tensor, b: Tensor) -> float:
    """Between two vectors, in degrees."""
    cosine = float(functional.cosine_similarity(a, b, dim=0))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def first_gradient(network: nn.Module, x_0: Tensor, seed: int, of: Objective) -> FirstGradient:
    """With the same noise and the same t, whatever x_0 and the objective are."""
    eps = cloud(0.0, seed, "first", *x_0.shape[::2]).to(x_0)
    t = torch.tensor([PLAIN.path.at((i + 0.5) / len(x_0)) for i in range(len(x_0))])
    denoiser = TunedDenoiser(network, PLAIN)
    images = torch.zeros(len(x_0), dtype=torch.long)
    drawn = x_0, eps, t, images, images.bool(), torch.zeros(len(x_0), 2)
    step, target = of.prepared(Step(denoiser, denoiser, nullcontext, *drawn))
    bias = network.get_parameter("output.bias")
    [direction] = torch.autograd.grad(of.loss(step, target), bias)
    return FirstGradient(direction, step.eps)


def objectives(classifier: nn.Module) -> dict[str, Objective]:
    """What each setting is trained towards."""
    guided, worst = GuidedTarget(GUIDANCE, classifier), AdversarialNoise(NOISE)
    found = Objective(), Objective(target=guided), Objective(worst, guided)
    return dict(zip(SETTINGS, found, strict=True))


def first_gradients(
    network: nn.Module, classifier: nn.Module, seed: int
) -> tuple[FirstGradient, dict[str, FirstGradient]]:
    """Of 10,000 points of the target; and, from ten repeated to 10,000, of each setting."""
    many = cloud(TARGET, seed, "many", LEVELS, POINTS)
    ten = ten_shots(seed).repeat(LEVELS, 1, POINTS // SHOTS, 1)
    found = {k: first_gradient(network, ten, seed, o) for k, o in objectives(classifier).items()}
    return first_gradient(network, many, seed, Objective()), found


def classifiers(seed: int) -> dict[str, nn.Module]:
    """The two that guide, for the ten points of a seed."""
    return {TEN: train_classifier(ten_shots(seed), seed), KNOWS: KnowingClassifier()}


def angles(network: nn.Module, seeds: Sequence[int]) -> dict[str, Tensor]:
    """By classifier, the angles of the settings to the reference, [seeds, 3], in degrees."""
    found: dict[str, list[list[float]]] = {TEN: [], KNOWS: []}
    for seed in seeds:
        for name, classifier in classifiers(seed).items():
            reference, of = first_gradients(network, classifier, seed)
            found[name].append([gradient.angle(reference) for gradient in of.values()])
    return {name: torch.tensor(rows) for name, rows in found.items()}


def how_often(found: Tensor) -> dict[str, float]:
    """Shares of the seeds, of angles [seeds, 3], in which the paper's order holds."""
    plain, guided, ant = found.unbind(1)
    shares = {"guidance nearer": guided < plain, "ANT nearer still": ant < guided}
    shares["the paper's order"] = torch.stack(list(shares.values())).all(0)
    return {name: float(holds.float().mean()) for name, holds in shares.items()}


def long_axis(noise: Tensor) -> tuple[float, Tensor]:
    """Of clouds [B, 2, N, 1]: how much longer the ellipse is than wide, and which way."""
    points = noise.transpose(0, 1).flatten(1)
    variances, axes = torch.linalg.eigh(torch.cov(points))
    return float((variances[1] / variances[0]).sqrt()), axes[:, 1]


# --- sampling paths -------------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """What a network draws after some steps of its adaptation."""

    step: int
    path: Tensor
    """The first coordinate of each sample at each step of sampling, [steps + 1, N]."""
    distance: float
    """Of the samples' mean to the target's."""
    spread: float
    """Their standard deviation, over both coordinates; the target's is 1."""


def samples_of(network: TunedDenoiser, step: int) -> Samples:
    """All from the same noise, whichever the network."""
    seen = []

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append(x_t[0, 0, :, 0])
        return network(x_t, t)

    shape = (2, SAMPLES, 1)
    drawing = sample(
        predict, PLAIN.path, [0], shape, scheduler="ddpm", steps=SAMPLING_STEPS, clip=False
    )
    points = next(drawing)[0, :, :, 0]
    distance = float((points.mean(1) - TARGET).norm())
    spread = float(points.var(1).mean().sqrt())
    return Samples(step, torch.stack([*seen, points[0]]), distance, spread)


def transfer(source: Network, of: Objective, seed: int = 0) -> list[Samples]:
    """Adapt a copy of the source to the ten; what it draws at first and every `MARKED` steps."""
    ten = ten_shots(seed).repeat(1, 1, 10, 1)
    training = training_of(copy.deepcopy(source), ten, TRANSFER, seed, of)
    network = training.network
    assert isinstance(network, TunedDenoiser)
    found = [samples_of(network, 0)]
    for record in training.steps():
        if record.step % MARKED == 0:
            with training.averaged():
                found.append(samples_of(network, record.step))
    return found


def report_gradients(network: Network, seeds: int, out: Path) -> None:
    """The paper's Figure 2a: seed 0 drawn, all seeds counted."""
    found = angles(network, range(seeds))
    drawn = {name: first_gradients(network, c, 0) for name, c in classifiers(0).items()}
    for name, rows in found.items():
        mean = ", ".join(f"{s} {a:.1f}" for s, a in zip(SETTINGS, rows.mean(0), strict=True))
        often = ", ".join(f"{what} {share:.0%}" for what, share in how_often(rows).items())
        print(f"classifier {name}: degrees from the reference, {mean}")
        print(f"  of {seeds} seeds: {often}")
    worst = drawn[TEN][1]["ANT"]
    ratio, axis = long_axis(worst.noise)
    away = angle(axis, worst.direction)
    print(f"worst-case noise, seed 0: {ratio:.3f} times as long as wide")
    print(f"  the long axis {min(away, 180 - away):.0f} degrees from the gradient")
    draw_gradients(drawn, found, SETTINGS, out / "toy_gaussian-gradients.png")


def report_paths(network: Network, out: Path) -> None:
    """The paper's Figures 2b and 2c, of seed 0, and how far the samples are at each mark."""
    of = objectives(classifiers(0)[TEN])
    found = {name: transfer(network, of[name]) for name in SETTINGS}
    print("distance of the samples' mean to the target's, and their spread, after steps:")
    for name, rows in found.items():
        cells = "  ".join(f"{s.step}: {s.distance:.2f} {s.spread:.2f}" for s in rows)
        print(f"  {name:10} {cells}")
    alpha = PLAIN.path.alpha_sigma(PLAIN.path.steps(SAMPLING_STEPS), torch.empty(1))[0]
    drawn = {name: next(s for s in rows if s.step == DRAWN) for name, rows in found.items()}
    draw_paths(drawn, found, TARGET * alpha, out / "toy_gaussian-paths.png")


def main() -> None:
    """Print and draw both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIGURES)
    parser.add_argument("--seeds", type=int, default=50)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    network = pretrain_source()
    report_gradients(network, chosen.seeds, chosen.out)
    report_paths(network, chosen.out)


if __name__ == "__main__":
    main()
