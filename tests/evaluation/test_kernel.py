"""The kernel distance against a double loop, known moments and torch-fidelity."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
import torch
from torch import Tensor

from antcli.errors import AntError
from antcli.evaluation import kernel as module
from antcli.evaluation.kernel import KernelDistance, kernel_distance
from antcli.randomness import generator


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of seven rows, so that small sets take several."""
    monkeypatch.setattr(module, "_ROWS", 7)


def features(count: int, dimensions: int, seed: int, shift: float = 0.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimensions, generator=draw) + shift


def slow(
    x: Tensor, y: Tensor, rows: list[int] | None = None, columns: list[int] | None = None
) -> float:
    """The estimator pair by pair; an image drawn twice makes no pair with itself."""
    rows, columns = rows or list(range(len(x))), columns or list(range(len(y)))

    def k(a: Tensor, b: Tensor) -> float:
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def within(z: Tensor, chosen: list[int]) -> float:
        return statistics.fmean(k(z[i], z[j]) for i in chosen for j in chosen if i != j)

    across = statistics.fmean(k(x[i], y[j]) for i in rows for j in columns)
    return within(x, rows) + within(y, columns) - 2 * across


def test_the_value_is_the_double_loop_over_all_images() -> None:
    x, y = features(17, 4, 0), features(23, 4, 1, 0.3)
    result = kernel_distance(x, y, subsets=2)
    assert result.value == pytest.approx(slow(x, y), rel=1e-10)
    assert kernel_distance(y, x, subsets=2).value == pytest.approx(result.value, rel=1e-10)


def test_the_value_survives_a_large_common_mean() -> None:
    x, y = features(20, 3, 0, 50.0), features(20, 3, 1, 50.1)
    assert kernel_distance(x, y, subsets=2).value == pytest.approx(slow(x, y), rel=1e-6)


def test_subsets_are_the_documented_draws_without_replacement() -> None:
    x, y = features(12, 3, 2), features(9, 3, 3, 0.5)
    result = kernel_distance(x, y, subsets=6, subset_size=5, seed=4)
    expected = []
    for i in range(6):
        draw = generator(4, "kid-subsets", i)
        rows = torch.randperm(12, generator=draw)[:5].tolist()
        expected.append(slow(x, y, rows, torch.randperm(9, generator=draw)[:5].tolist()))
    assert result.subset_mean == pytest.approx(statistics.fmean(expected), rel=1e-9)
    assert result.subset_std == pytest.approx(statistics.pstdev(expected), rel=1e-9)


def test_subsets_are_no_larger_than_the_smaller_set() -> None:
    result = kernel_distance(features(12, 3, 2), features(9, 3, 3), subsets=3)
    assert result.definition["subset_size"] == 9
    same = kernel_distance(features(9, 3, 2), features(9, 3, 3), subsets=3)
    assert same.subset_mean == pytest.approx(same.value, rel=1e-10), "each subset is all images"


def test_the_interval_is_of_resamples_without_pairs_of_one_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three images in a set: a resample of one alone, which has no pair, is among the forty."""
    monkeypatch.setattr(module, "RESAMPLES", 40)
    x, y = features(3, 2, 5), features(8, 2, 6, 1.0)
    rows, columns = (
        torch.randint(len(z), (40, len(z)), generator=generator(1, "kid-bootstrap", which))
        for which, z in enumerate((x, y))
    )
    draws = list(zip(rows.tolist(), columns.tolist(), strict=True))
    usable = [slow(x, y, r, c) for r, c in draws if len(set(r)) > 1]
    assert len(usable) < len(draws)
    result = kernel_distance(x, y, subsets=2, seed=1)
    expected = np.percentile(usable, [2.5, 97.5])
    np.testing.assert_allclose([result.low, result.high], expected, rtol=1e-9)


def repeated(shift: float, times: int) -> list[KernelDistance]:
    """Distances of small sets drawn uniformly from [0, 1] and from [shift, 1 + shift]."""
    draw = torch.Generator().manual_seed(7)
    sets = torch.rand(times, 70, 1, generator=draw, dtype=torch.float64)
    return [kernel_distance(z[:40], z[40:] + shift, subsets=1) for z in sets]


def moment(power: int, shift: float) -> float:
    return ((1 + shift) ** (power + 1) - shift ** (power + 1)) / (power + 1)


def test_unbiased_and_covered_where_the_truth_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one dimension MMD^2 = 3 (m_1 - m_1')^2 + 3 (m_2 - m_2')^2 + (m_3 - m_3')^2."""
    monkeypatch.setattr(module, "_ROWS", 512)
    shift = 0.4
    apart = [moment(power, shift) - moment(power, 0) for power in (1, 2, 3)]
    truth = 3 * apart[0] ** 2 + 3 * apart[1] ** 2 + apart[2] ** 2
    results = repeated(shift, 120)
    values = [result.value for result in results]
    error = statistics.stdev(values) / len(values) ** 0.5
    assert abs(statistics.fmean(values) - truth) < 2.5 * error < truth / 5
    covered = statistics.fmean(result.low <= truth <= result.high for result in results)
    assert 0.9 <= covered <= 0.99


def test_no_distance_is_found_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal distributions: estimates on both sides of 0, and 0 in at least 95 % of intervals."""
    monkeypatch.setattr(module, "_ROWS", 512)
    results = repeated(0.0, 60)
    values = [result.value for result in results]
    error = statistics.stdev(values) / len(values) ** 0.5
    assert abs(statistics.fmean(values)) < 2.5 * error
    assert min(values) < 0
    assert statistics.fmean(result.low <= 0 <= result.high for result in results) >= 0.95


def test_agrees_with_torch_fidelity() -> None:
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = features(40, 16, 8).double(), features(40, 16, 9, 0.2).double()
    whole = kid.kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=40, verbose=False)
    result = kernel_distance(x, y, subsets=5, subset_size=12)
    assert result.value == pytest.approx(whole[kid.KEY_METRIC_KID_MEAN], rel=1e-9)
    theirs = []
    for i in range(5):
        draw = generator(0, "kid-subsets", i)
        a, b = (z[torch.randperm(40, generator=draw)[:12]].numpy() for z in (x, y))
        theirs.append(kid.kernel_mmd(a, b))
    assert result.subset_mean == pytest.approx(np.mean(theirs), rel=1e-9)
    assert result.subset_std == pytest.approx(np.std(theirs), rel=1e-9)


def test_the_seed_moves_all_but_the_value() -> None:
    x, y = features(20, 3, 0), features(20, 3, 1)
    first, again, other = (
        kernel_distance(x, y, subsets=3, subset_size=8, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert other.value == first.value
    assert other.low != first.low
    assert other.subset_mean != first.subset_mean


def test_the_result_says_what_it_is() -> None:
    result = kernel_distance(features(12, 3, 0), features(9, 3, 1), subsets=2)
    facts = json.loads(json.dumps(result.as_dict()))
    assert facts["metric"] == "kernel-distance"
    assert facts["definition"]["generated_images"] == 9
    assert "no image with itself" in facts["definition"]["interval"]
    assert [line.split(" are ")[0] for line in facts["cautions"]] == ["9 generated images"]


def test_what_cannot_be_computed_is_one_line() -> None:
    x = features(5, 3, 0)
    with pytest.raises(AntError, match="too few generated images: 1"):
        kernel_distance(x, x[:1])
    with pytest.raises(AntError, match="not the same feature space"):
        kernel_distance(x, x[:, :2])
    with pytest.raises(AntError, match="2 of 5 reference images"):
        kernel_distance(x.masked_fill(torch.tensor([1, 0, 0, 1, 0]).bool()[:, None], torch.inf), x)
