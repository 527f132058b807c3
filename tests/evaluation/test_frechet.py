"""The Frechet distance against closed forms, scipy's matrix root and torch-fidelity."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from antcli.errors import AntError
from antcli.evaluation.frechet import Gaussian, frechet, frechet_distance


def features(count: int, dimensions: int, seed: int) -> Tensor:
    """Correlated features with a mean of their own, float32 as networks give them."""
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(dimensions, dimensions, generator=draw) / dimensions**0.5
    return torch.randn(count, dimensions, generator=draw) @ mix + torch.rand(1, generator=draw)


def by_scipy(x: Tensor, y: Tensor) -> float:
    """The formula as it is written, with numpy's covariance and scipy's root of the product."""
    a, b = x.double().numpy(), y.double().numpy()
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    apart = np.sum((a.mean(0) - b.mean(0)) ** 2)
    return float(apart + np.trace(c + d - 2 * scipy.linalg.sqrtm(c @ d).real))


def by_singular_values(x: Tensor, y: Tensor) -> float:
    """With C = A^T A, tr (C_a C_b)^(1/2) is the sum of the singular values of A B^T."""
    a, b = x.double(), y.double()
    roots = [(z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (a, b)]
    overlap = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    traces = sum(root.square().sum() for root in roots)
    return float((a.mean(0) - b.mean(0)).square().sum() + traces - 2 * overlap)


def test_unit_shift_in_2048_dimensions_is_2048() -> None:
    identity = torch.eye(2048, dtype=torch.float64)
    at = [Gaussian(torch.full((2048,), m, dtype=torch.float64), identity) for m in (0.0, 1.0)]
    assert frechet_distance(*at) == pytest.approx(2048, abs=1e-6)


def test_diagonal_covariances_have_a_closed_form() -> None:
    mean = torch.zeros(3, dtype=torch.float64)
    a, b = torch.tensor([4.0, 1.0, 0.0]).double(), torch.tensor([1.0, 9.0, 16.0]).double()
    distance = frechet_distance(Gaussian(mean, a.diag()), Gaussian(mean + 2, b.diag()))
    assert distance == pytest.approx(3 * 2**2 + (2 - 1) ** 2 + (1 - 3) ** 2 + (0 - 4) ** 2)


def test_the_fit_is_the_unbiased_one_in_float64() -> None:
    x = features(30, 4, 0) + 1000
    fit = Gaussian.fit(x)
    exact = x.double().numpy()
    np.testing.assert_allclose(fit.mean.numpy(), exact.mean(0), rtol=1e-13)
    np.testing.assert_allclose(fit.covariance.numpy(), np.cov(exact, rowvar=False), rtol=1e-10)


def test_agrees_with_the_root_of_scipy() -> None:
    x, y = features(60, 8, 1), features(50, 8, 2)
    distance = frechet_distance(Gaussian.fit(x), Gaussian.fit(y))
    assert distance == pytest.approx(by_scipy(x, y), rel=1e-9)


@pytest.mark.parametrize(("real", "fake"), [(6, 9), (9, 6), (200, 6), (6, 200)])
def test_singular_covariances(real: int, fake: int) -> None:
    """Fewer images than dimensions, on either side or both; with and without their deviations."""
    x, y = features(real, 40, 3), features(fake, 40, 4)
    fits = [Gaussian.fit(z) for z in (x, y)]
    expected = by_singular_values(x, y)
    assert [fit.deviations is not None for fit in fits] == [real < 40, fake < 40]
    assert frechet_distance(*fits) == pytest.approx(expected, rel=1e-6)
    alone = [Gaussian(fit.mean, fit.covariance) for fit in fits]
    assert frechet_distance(*alone) == pytest.approx(expected, rel=1e-6)


def test_a_set_is_at_no_distance_from_itself() -> None:
    for count in (5, 100):
        fit = Gaussian.fit(features(count, 20, 5))
        assert 0 <= frechet_distance(fit, fit) < 1e-5


def test_agrees_with_torch_fidelity() -> None:
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    x, y = features(300, 32, 6), features(250, 32, 7)
    theirs = fid.fid_statistics_to_metric(
        *(fid.fid_features_to_statistics(z.double()) for z in (x, y)), verbose=False
    )
    ours = frechet(Gaussian.fit(x), Gaussian.fit(y))
    assert ours.value == pytest.approx(theirs[fid.KEY_METRIC_FID], rel=1e-7)


def test_the_result_says_what_it_is() -> None:
    result = frechet(Gaussian.fit(features(50, 8, 8)), Gaussian.fit(features(6, 8, 9)))
    facts = json.loads(json.dumps(result.as_dict()))
    assert facts["metric"] == "frechet-distance"
    assert facts["value"] == result.value
    counts = [facts["definition"][key] for key in ("reference_images", "generated_images")]
    assert counts == [50, 6]
    assert [line.split(" are ")[0] for line in facts["cautions"]] == ["6 generated images"]


def test_what_cannot_be_computed_is_one_line() -> None:
    with pytest.raises(AntError, match="too few reference images: 1"):
        Gaussian.fit(features(1, 4, 0), "reference images")
    broken = features(5, 4, 0)
    broken[2, 1] = torch.nan
    with pytest.raises(AntError, match="1 of 5 generated images"):
        Gaussian.fit(broken, "generated images")
    with pytest.raises(AntError, match="not the same feature space"):
        frechet(Gaussian.fit(features(9, 4, 0)), Gaussian.fit(features(9, 5, 0)))
