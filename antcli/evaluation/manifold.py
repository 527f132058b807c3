"""Precision, recall, density and coverage: which set lies within balls around the other.

A ball around each image reaches to its k-th nearest neighbour in its own set. Precision and
recall: T. Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative
Models", NeurIPS 2019 (arXiv 1904.06991). Density and coverage: M. F. Naeem et al., "Reliable
Fidelity and Diversity Metrics for Generative Models", ICML 2020 (arXiv 2002.09797).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from antcli.evaluation import cautions
from antcli.evaluation.checks import checked_pair

NEIGHBOUR = 5
"""k of Naeem et al.; Kynkaanniemi et al. take 3."""
_ROWS = 512  # of a matrix of distances, held at a time
_TOUCHING = 1e-12  # of the largest squared norm: far above rounding, far below what is seen


@dataclass(frozen=True)
class Prdc:
    """The result, with all that it takes to compare it with another."""

    precision: float
    """Share of generated images within the ball of a reference image, in [0, 1]."""
    recall: float
    """Share of reference images within the ball of a generated image, in [0, 1]."""
    density: float
    """Balls of reference images that a generated image is in, in the mean, over k: about 1 for
    sets that are alike, and more where samples crowd."""
    coverage: float
    """Share of reference images with a generated image in their ball, in [0, 1]."""
    k: int
    cautions: tuple[str, ...]
    definition: dict[str, object]

    def as_dict(self) -> dict[str, object]:
        """The result as JSON takes it."""
        return {"metric": "prdc", **asdict(self)}


def prdc(real: Tensor, fake: Tensor, k: int = NEIGHBOUR) -> Prdc:
    """The four of features real [M, D] and fake [N, D], with balls to the k-th neighbour.

    A point on the surface of a ball is outside, as in Naeem's code. Distances are computed in
    float64 from squares and products, after the reference mean is taken away: two points whose
    squared distances differ by less than 1e-12 of the largest squared norm count as equally far.
    Memory grows with M + N, not with M N.

    Raises `AntError` where a set has no k-th neighbours (k images or fewer), for NaN and for two
    feature spaces.
    """
    real, fake = checked_pair(real, fake, least=k + 1)
    centre = real.mean(0)
    x, y = real - centre, fake - centre
    touching = _TOUCHING * max(float(z.square().sum(1).max()) for z in (x, y))
    around_x, around_y = _radii(x, k) - touching, _radii(y, k) - touching
    memberships = precise = 0
    covered = torch.zeros_like(around_x, dtype=torch.bool)
    recalled = covered.clone()
    for part, around_part in zip(y.split(_ROWS), around_y.split(_ROWS), strict=True):
        squares = _squares(x, part)
        inside = squares < around_x[:, None]
        memberships += int(inside.sum())
        precise += int(inside.any(0).sum())
        covered |= inside.any(1)
        recalled |= (squares < around_part).any(1)
    equal = coverage_of_equals(len(x), len(y), k)
    return Prdc(
        precision=precise / len(y),
        recall=int(recalled.sum()) / len(x),
        density=memberships / (k * len(y)),
        coverage=int(covered.sum()) / len(x),
        k=k,
        cautions=cautions.prdc(len(x), len(y), k, equal),
        definition={
            "balls": "to the k-th neighbour in the own set, surface outside",
            "k": k,
            "coverage_of_equals": equal,
            "dimensions": x.shape[1],
            "reference_images": len(x),
            "generated_images": len(y),
        },
    )


def coverage_of_equals(real: int, fake: int, k: int) -> float:
    """The coverage to expect where both sets are drawn from one distribution, whichever it is.

    A ball is empty if the k nearest of all other images are of the reference:
    1 - (M-1)...(M-k) / ((M+N-1)...(M+N-k)) (Naeem et al.); 1 - 2^-k for large sets of one size.
    """
    return 1 - math.comb(real - 1, k) / math.comb(real + fake - 1, k)


def _radii(x: Tensor, k: int) -> Tensor:
    """The squared distance from each of x [N, D] to its k-th nearest other one, [N]."""
    parts = [_squares(part, x).kthvalue(k + 1, dim=1).values for part in x.split(_ROWS)]
    return torch.cat(parts)  # the nearest of all is the point itself, hence k + 1


def _squares(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances [M, N] between x [M, D] and y [N, D]."""
    return x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
