"""A Gaussian in few directions of many, after Yang et al. (NeurIPS 2024), section 5.

    python examples/latent_gaussian.py [--out examples/figures]

Source and target are A_s Z and A Z for one Z ~ N(0, lambda^2 I_d), with A_s and A of D x d and
orthonormal columns. The score network is (V f(V^T x) - x) / sigma^2; f is the source's and frozen,
only V is trained on n_ta samples of the target. With one t that has a closed form (Lemma 5.1), here
held against gradient descent on the same loss. The lemma is printed without a factor m^2, which its
proof has; both are computed. Prints and draws the error |V V^T - A A^T|^2 by t and by n_ta, what
becomes of fewer samples than directions, and the paper's rule of thumb for five data sets.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from toy_figures import FIGURES, draw_latent

from antcli.evaluation.dimension import images_asked
from antcli.randomness import generator

AMBIENT = 64
"""D."""
DELTA = 1e-3
"""The t at which the paper stops; the best one where the data have no noise."""
ANGLE = math.radians(30)
"""Between every direction of the source and the target's: without adapting the error is d / 2."""
TIMES = (1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
DIMENSIONS = (4, 8, 16, 32)
SHOTS = (1, 2, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64, 128, 256, 512)
DRAWS = 20
"""Target sets of each size, over which errors are averaged."""
DESCENT_STEPS = 2000
DATASETS = {
    "CIFAR-10": (60_000, 25, 6),
    "CIFAR-100": (60_000, 22, 8),
    "CelebA": (200_000, 24, 8),
    "MS-COCO": (330_000, 37, 5),
    "ImageNet": (1_200_000, 43, 5),
}
"""n_s, d and the n_ta that the paper's Table 1 asks for."""


@dataclass(frozen=True)
class Level:
    """The noise of one t: x_t = m x + sigma eps (Ornstein-Uhlenbeck)."""

    t: float

    @property
    def m2(self) -> float:
        """m^2."""
        return math.exp(-self.t)

    @property
    def sigma2(self) -> float:
        """sigma^2."""
        return -math.expm1(-self.t)

    def shrinkage(self, lambda2: float = 1.0) -> float:
        """What the frozen f multiplies its input by: m^2 lambda^2 / (m^2 lambda^2 + sigma^2)."""
        return self.m2 * lambda2 / (self.m2 * lambda2 + self.sigma2)


@dataclass(frozen=True)
class World:
    """Source and target, orthonormal columns [D, d] each."""

    source: Tensor
    target: Tensor

    def samples(self, count: int, seed: int) -> Tensor:
        """Of the target, [count, D], with lambda = 1."""
        draw = generator(seed, "samples", count)
        z = torch.randn(count, self.target.shape[1], generator=draw, dtype=torch.float64)
        return z @ self.target.T

    def error(self, v: Tensor) -> float:
        """|V V^T - A A^T|^2, squared Frobenius norm."""
        return float((v @ v.T - self.target @ self.target.T).square().sum())


def world(dimension: int, seed: int = 0) -> World:
    """Each direction of the target is `ANGLE` off one of the source's."""
    draw = generator(seed, "world", dimension)
    random = torch.randn(AMBIENT, 2 * dimension, generator=draw, dtype=torch.float64)
    source, off = torch.linalg.qr(random).Q.split(dimension, dim=1)
    return World(source, math.cos(ANGLE) * source + math.sin(ANGLE) * off)


def second_moment(x: Tensor) -> Tensor:
    """C of samples [N, D], not centred, [D, D]."""
    return x.T @ x / len(x)


def loss(v: Tensor, c: Tensor, level: Level) -> Tensor:
    """Denoising score matching at one t, times sigma^4: E |g V V^T x_t - m x|^2.

    The expectation over the noise is exact; that over x is over the samples with second moment C.
    """
    g, m2, p = level.shrinkage(), level.m2, v @ v.T
    moment = m2 * c + level.sigma2 * torch.eye(len(c), dtype=c.dtype)
    return g**2 * (p @ moment @ p).trace() - 2 * g * m2 * (p @ c).trace() + m2 * c.trace()


def minimiser(c: Tensor, dimension: int, level: Level, *, as_printed: bool = False) -> Tensor:
    """V [D, d] of Lemma 5.1, the d largest directions of

        V V^T = (m^2 lambda^2 + sigma^2) / lambda^2 (m^2 C + sigma^2 I)^-1 C.

    `as_printed` leaves out the m^2 before C, as the lemma does.
    """
    values, directions = torch.linalg.eigh(c)
    values, directions = values[-dimension:].clamp(min=0), directions[:, -dimension:]
    scale = level.m2 + level.sigma2
    kept = scale * values / ((1.0 if as_printed else level.m2) * values + level.sigma2)
    return directions * kept.sqrt()


def filled(v: Tensor, source: Tensor, rank: int) -> Tensor:
    """V whose last `rank` columns count, and the source's for the directions that are missing.

    Of the source, what lies off the columns that count: its largest directions there.
    """
    dimension = v.shape[1]
    if rank >= dimension:
        return v
    known = v[:, dimension - rank :]
    basis = torch.linalg.qr(known).Q
    rest = source - basis @ (basis.T @ source)
    return torch.cat([torch.linalg.svd(rest).U[:, : dimension - rank], known], dim=1)


def descended(v: Tensor, c: Tensor, level: Level, steps: int = DESCENT_STEPS) -> Tensor:
    """Plain gradient descent on `loss` from V, as long a step as its curvature allows."""
    top = float(torch.linalg.matrix_norm(c, 2))
    moment = level.m2 * top + level.sigma2
    longest = max(1.0, top / moment)  # of V V^T, at first or at last
    rate = 1 / (level.shrinkage() ** 2 * (12 * moment * longest + 4 * top))
    v = v.clone().requires_grad_()
    for _ in range(steps):
        [gradient] = torch.autograd.grad(loss(v, c, level), v)
        v = (v - rate * gradient).detach().requires_grad_()
    return v.detach()


@dataclass(frozen=True)
class ByTime:
    """At one t, with 200 samples in 5 directions."""

    t: float
    corrected: float
    """Error of the closed form."""
    printed: float
    """Error of the lemma as it is printed."""
    descended: float
    """Error of gradient descent from the source."""
    apart: float
    """|V V^T| between the closed form and gradient descent, squared."""


def by_time(dimension: int = 5, count: int = 200) -> list[ByTime]:
    """The closed form against gradient descent."""
    found, here = [], world(dimension)
    c = second_moment(here.samples(count, 0))
    for t in TIMES:
        level = Level(t)
        v, other = minimiser(c, dimension, level), descended(here.source, c, level)
        apart = float((v @ v.T - other @ other.T).square().sum())
        printed = here.error(minimiser(c, dimension, level, as_printed=True))
        found.append(ByTime(t, here.error(v), printed, here.error(other), apart))
    return found


@dataclass(frozen=True)
class ByCount:
    """Mean errors over `DRAWS` target sets of one size."""

    count: int
    closed: float
    filled: float
    """With the missing directions taken from the source; the same where none are missing."""


def by_count(dimension: int, t: float) -> list[ByCount]:
    """Errors of the closed form against n_ta."""
    here, level, found = world(dimension), Level(t), []
    for count in SHOTS:
        closed = completed = 0.0
        for seed in range(DRAWS):
            v = minimiser(second_moment(here.samples(count, seed)), dimension, level)
            closed += here.error(v) / DRAWS
            completed += here.error(filled(v, here.source, min(count, dimension))) / DRAWS
        found.append(ByCount(count, closed, completed))
    return found


def alpha(source_images: int, dimension: int) -> float:
    """The d log log n_s / log n_s, which the paper's condition wants below 1."""
    return dimension * math.log(math.log(source_images)) / math.log(source_images)


def report_rule() -> None:
    """The paper's Table 1, and why it is a rule of thumb."""
    print("rule of thumb n_s^(4/d), rounded up; the paper's Table 1 beside it, at least 5:")
    for name, (images, dimension, published) in DATASETS.items():
        asked = math.ceil(images_asked(images, dimension))
        print(
            f"  {name:9} n_s {images:>9,}  d {dimension}  asks for {asked} (paper {published})"
            f"  alpha {alpha(images, dimension):.1f}"
        )
    print("  It is the limit of n_s without end: alpha would have to be below 1, and nowhere is.")
    print("  Constants are dropped, and the bound says nothing of how images look.")


def main() -> None:
    """Print and draw all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIGURES)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    times = by_time()
    print("5 directions of 64, 200 samples; errors of the closed form, as printed, of descent:")
    for row in times:
        cells = f"{row.corrected:9.2g} {row.printed:9.2g} {row.descended:9.2g}"
        print(f"  t {row.t:<6g}{cells}   closed form and descent apart {row.apart:.1g}")
    counts = {t: {d: by_count(d, t) for d in DIMENSIONS} for t in (DELTA, 1.0)}
    for t, of in counts.items():
        print(f"t {t:g}: error by n_ta (filled from the source; without adapting d / 2)")
        for dimension, rows in of.items():
            cells = "  ".join(f"{r.count}: {r.closed:.2g} ({r.filled:.2g})" for r in rows[::2])
            print(f"  d {dimension:<3} {cells}")
    report_rule()
    draw_latent(times, counts, chosen.out / "latent_gaussian.png")


if __name__ == "__main__":
    main()
