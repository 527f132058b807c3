"""The intrinsic dimension against a slow version and known manifolds, and the rule of thumb."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import Tensor

from antcli.errors import AntError
from antcli.evaluation import dimension as module
from antcli.evaluation.dimension import NEIGHBOURS, images_asked, intrinsic_dimension


def slow(points: Tensor, k: int) -> float:
    """MacKay and Ghahramani's average, a pair at a time."""
    rows, terms = points.double().tolist(), []
    for i, x in enumerate(rows):
        t = sorted(math.dist(x, y) for j, y in enumerate(rows) if j != i)
        terms += [math.log(t[k - 1] / t[j]) for j in range(k - 1)]
    return 1 / statistics.fmean(terms)


def drawn(count: int, dimension: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=draw, dtype=torch.float64)


def sphere(count: int, dimension: int) -> Tensor:
    """A curved manifold of this dimension, in 40 coordinates."""
    z = drawn(count, dimension + 1)
    z = z / z.norm(dim=1, keepdim=True)
    return z @ torch.linalg.qr(drawn(40, dimension + 1, seed=1)).Q.T + 5


@pytest.mark.parametrize("rows_at_once", [7, 512])
def test_agrees_with_the_definition(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", rows_at_once)
    points = drawn(30, 4)
    found = intrinsic_dimension(points)
    expected = [slow(points, k) for k in range(3, 21)]
    assert list(found.by_k) == pytest.approx(expected, rel=1e-12)
    assert found.estimate == pytest.approx(statistics.fmean(expected), rel=1e-12)
    assert found.span == (min(found.by_k), max(found.by_k))


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_finds_the_dimension_of_a_known_manifold(dimension: int) -> None:
    """Of 1,000 points on a sphere the estimate deviates by d / sqrt(N k) and a bias of edges."""
    assert intrinsic_dimension(sphere(1000, dimension)).estimate == pytest.approx(
        dimension, rel=0.08
    )


def test_few_samples_read_low() -> None:
    """As the docstring of `samples` says, to half a direction."""
    for dimension, of_64 in ((10, 7), (30, 15)):
        found = [intrinsic_dimension(drawn(64, dimension, seed)).estimate for seed in range(8)]
        assert statistics.fmean(found) == pytest.approx(of_64, abs=0.5)


def test_size_place_and_precision_do_not_matter() -> None:
    points = sphere(60, 3)
    found = intrinsic_dimension(points)
    moved = intrinsic_dimension(1000 * points - 3e4)
    assert moved.by_k == pytest.approx(found.by_k, rel=1e-6)


def test_copies_count_once() -> None:
    points = drawn(40, 3)
    found = intrinsic_dimension(torch.cat([points, points[:9]]))
    assert found == intrinsic_dimension(points[torch.randperm(40)])
    assert found.samples == 40


def test_too_few_points_and_broken_ones_are_told() -> None:
    most = NEIGHBOURS[-1]
    intrinsic_dimension(drawn(most + 1, 3))
    with pytest.raises(AntError, match=f"too few samples: {most}"):
        intrinsic_dimension(drawn(most, 3))
    with pytest.raises(AntError, match="too few distinct samples: 5"):
        intrinsic_dimension(drawn(5, 3).repeat(9, 1))
    with pytest.raises(AntError, match="NaN or infinity"):
        intrinsic_dimension(drawn(30, 3).fill_(math.nan))


@pytest.mark.parametrize(
    ("images", "dimension", "published", "rounded_up"),
    [
        (60_000, 25, 6, 6),
        (60_000, 22, 8, 8),
        (200_000, 24, 8, 8),
        (330_000, 37, 5, 4),  # the published table has 5 where the rule gives less
        (1_200_000, 43, 5, 4),
    ],
)
def test_the_rule_is_that_of_the_published_table(
    images: int, dimension: int, published: int, rounded_up: int
) -> None:
    asked = math.ceil(images_asked(images, dimension))
    assert asked == rounded_up
    assert max(asked, 5) == published
