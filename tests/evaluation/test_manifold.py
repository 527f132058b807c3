"""Precision, recall, density and coverage against loops and the packages of their authors."""

from __future__ import annotations

import json
import math
import statistics

import pytest
import torch
from torch import Tensor

from antcli.errors import AntError
from antcli.evaluation import manifold as module
from antcli.evaluation.manifold import Prdc, coverage_of_equals, prdc


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of seven rows, so that small sets take several."""
    monkeypatch.setattr(module, "_ROWS", 7)


def sets(real: int, fake: int, seed: int = 0, far: float = 0.0) -> tuple[Tensor, Tensor]:
    """Two overlapping clouds in three dimensions, far from the origin if asked."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(real, 3, generator=draw)
    y = 0.8 * torch.randn(fake, 3, generator=draw) + 1.0
    return x.double() + far, y.double() + far


def slow(real: Tensor, fake: Tensor, k: int) -> list[float]:
    """The definitions, a pair at a time."""
    x, y = real.double().tolist(), fake.double().tolist()

    def radius(point: int, own: list[list[float]]) -> float:
        others = [math.dist(own[point], other) for i, other in enumerate(own) if i != point]
        return sorted(others)[k - 1]

    around_x = [radius(i, x) for i in range(len(x))]
    around_y = [radius(j, y) for j in range(len(y))]
    in_x = [[math.dist(a, b) < r for a, r in zip(x, around_x, strict=True)] for b in y]
    in_y = [[math.dist(a, b) < r for b, r in zip(y, around_y, strict=True)] for a in x]
    return [
        statistics.fmean(any(balls) for balls in in_x),
        statistics.fmean(any(balls) for balls in in_y),
        statistics.fmean(sum(balls) for balls in in_x) / k,
        statistics.fmean(any(balls) for balls in zip(*in_x, strict=True)),
    ]


def four(result: Prdc) -> list[float]:
    return [result.precision, result.recall, result.density, result.coverage]


@pytest.mark.parametrize(("real", "fake", "k"), [(30, 40, 5), (10, 25, 5), (20, 8, 1), (6, 6, 5)])
def test_agrees_with_the_definitions(real: int, fake: int, k: int) -> None:
    x, y = sets(real, fake)
    assert four(prdc(x, y, k)) == pytest.approx(slow(x, y, k), rel=1e-12)


def test_the_four_differ_in_the_example() -> None:
    """Else a mix-up of theirs would go unseen above."""
    result = prdc(*sets(30, 40), k=5)
    assert len(set(four(result))) == 4
    assert all(0 < share < 1 for share in (result.precision, result.recall, result.coverage))


def test_a_large_common_mean_changes_nothing() -> None:
    assert four(prdc(*sets(30, 40, far=1e6))) == four(prdc(*sets(30, 40)))


def test_the_surface_of_a_ball_is_outside() -> None:
    """Equal sets: each image is in its own ball and in those of k - 1 others in the mean."""
    x, _ = sets(50, 1)
    assert four(prdc(x, x.clone(), k=5)) == [1, 1, 1, 1]
    assert four(prdc(x, x.clone(), k=1))[2] == 1


def test_repeated_images_have_balls_without_inside() -> None:
    x, y = sets(20, 20)
    x, y = x + 30, y + 30
    x[:4] = x[0]  # k = 3: the first four have three neighbours at no distance
    y[:] = x[0]
    assert four(prdc(x, y, k=3)) == pytest.approx(slow(x, y, 3))
    assert prdc(x[:4], y, k=3).precision == 0


def test_agrees_with_the_prdc_package() -> None:
    package = pytest.importorskip("prdc")
    x, y = sets(60, 45, seed=1)
    theirs = package.compute_prdc(x.numpy(), y.numpy(), nearest_k=4)
    ours = prdc(x, y, k=4)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(ours, name) == pytest.approx(theirs[name], rel=1e-12)


def test_agrees_with_torch_fidelity() -> None:
    """Since 0.4; before, it gave precision for recall."""
    pytest.importorskip("torch_fidelity", minversion="0.4.0")
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    x, y = sets(60, 45, seed=2)
    precision, recall = calculate_precision_recall_full(y, x, neighborhood=3)
    result = prdc(x, y, k=3)
    assert [result.precision, result.recall] == pytest.approx([precision, recall], rel=1e-6)


@pytest.mark.parametrize(("real", "fake"), [(40, 10), (12, 12)])
def test_the_coverage_of_equal_distributions(real: int, fake: int) -> None:
    draw = torch.Generator().manual_seed(3)
    found = [
        prdc(*torch.randn(real + fake, 2, generator=draw).split([real, fake]), k=3).coverage
        for _ in range(150)
    ]
    error = statistics.stdev(found) / len(found) ** 0.5
    assert abs(statistics.fmean(found) - coverage_of_equals(real, fake, 3)) < 2.5 * error < 0.05


def test_the_result_says_what_it_is() -> None:
    facts = json.loads(json.dumps(prdc(*sets(200, 12)).as_dict()))
    assert facts["metric"] == "prdc"
    assert facts["k"] == 5
    assert facts["definition"]["coverage_of_equals"] == coverage_of_equals(200, 12, 5)
    few, uncovered = facts["cautions"]
    assert few.startswith("12 generated images are few for k = 5")
    assert "45%" in few
    assert "recall" in few
    assert uncovered.endswith(f"cover {coverage_of_equals(200, 12, 5):.0%} of them only")
    assert prdc(*sets(60, 60)).cautions == ()


def test_what_cannot_be_computed_is_one_line() -> None:
    x, y = sets(10, 10)
    with pytest.raises(AntError, match="too few reference images: 3, where at least 6") as error:
        prdc(x[:3], y)
    assert error.value.hint
    with pytest.raises(AntError, match="too few generated images: 5"):
        prdc(x, y[:5])
    y[0, 0] = torch.nan
    with pytest.raises(AntError, match="1 of 10 generated images"):
        prdc(x, y)
