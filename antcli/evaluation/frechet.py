"""Frechet distance between two Gaussians fitted to features.

M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium", NeurIPS 2017 (arXiv 1706.08500), Eq. 6. It is called FID where the features are
those of the Inception network.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from antcli.evaluation import cautions
from antcli.evaluation.checks import check_same_space, checked


@dataclass(frozen=True)
class Gaussian:
    """Mean [D] and covariance [D, D] of features, float64."""

    mean: Tensor
    covariance: Tensor
    count: int | None = None
    """Of feature vectors it was fitted to; None where that is not known."""
    deviations: Tensor | None = None
    """[count, D], its transpose times itself being the covariance; kept where count < D."""

    @classmethod
    def fit(cls, features: Tensor, what: str = "images") -> Gaussian:
        """From features [N, D]; the covariance is the unbiased one.

        Raises `AntError`, which calls them `what`, for fewer than two and for NaN or infinity.
        """
        features = checked(features, what, least=2)
        count, dimensions = features.shape
        mean = features.mean(0)
        deviations = (features - mean) / (count - 1) ** 0.5
        few = deviations if count < dimensions else None
        return cls(mean, deviations.T @ deviations, count, few)

    @property
    def factor(self) -> Tensor:
        """F [R, D] with F^T F the covariance; the fewest rows that are known."""
        if self.deviations is not None:
            return self.deviations
        values, vectors = torch.linalg.eigh(self.covariance)
        return values.clamp(min=0).sqrt()[:, None] * vectors.T


@dataclass(frozen=True)
class Frechet:
    """The result, with all that it takes to compare it with another."""

    value: float
    """Not negative; 0 for equal Gaussians. Its unit is that of the features, squared."""
    cautions: tuple[str, ...]
    definition: dict[str, object]

    def as_dict(self) -> dict[str, object]:
        """The result as JSON takes it."""
        return {"metric": "frechet-distance", **asdict(self)}


def frechet(real: Gaussian, fake: Gaussian) -> Frechet:
    """The Frechet distance of the generated images from the reference, with what to know of it.

    Raises `AntError` where the two are of different feature spaces.
    """
    check_same_space(len(real.mean), len(fake.mean))
    dimensions = len(real.mean)
    return Frechet(
        value=frechet_distance(real, fake),
        cautions=cautions.frechet(real.count, fake.count, dimensions),
        definition={
            "covariance": "unbiased, N - 1",
            "dimensions": dimensions,
            "reference_images": real.count,
            "generated_images": fake.count,
        },
    )


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), Eq. 6; never below 0.

    The trace of the root is the sum of the roots of the eigenvalues of C_a C_b. With
    C_a = F^T F those are the eigenvalues of the symmetric F C_b F^T (and zeros), which are real
    where covariances are singular, and few where F has few rows.
    """
    few = min(a, b, key=lambda one: len(one.mean if one.deviations is None else one.deviations))
    factor, other = few.factor, b if few is a else a
    squares = torch.linalg.eigvalsh(factor @ other.covariance @ factor.T)
    overlap = squares.clamp(min=0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    traces = a.covariance.trace() + b.covariance.trace()
    return max(float(apart + traces - 2 * overlap), 0.0)
