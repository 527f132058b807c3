"""The inverse problem against closed forms, and which way the transfer goes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import conditional_transfer as example
import pytest
import torch
from conditional_tasks import FROZEN, SCRATCH, Training, pretrain
from conditional_transfer import DEVIATION, STEP, STEPS, drift, world

from antcli.randomness import generator


def test_without_drift_a_path_is_brownian() -> None:
    """Variances STEP, 2 STEP, ... and increments that know nothing of one another."""
    x = world().paths(0.0, 20_000, generator(0, "paths"))
    times = STEP * torch.arange(1, STEPS + 1, dtype=torch.float64)
    expected = torch.minimum(times[:, None], times)
    # The standard error of a covariance is at most sqrt(2) times as large as it, by sqrt(20,000).
    torch.testing.assert_close(torch.cov(x.T), expected, atol=0.04, rtol=0)


@pytest.mark.parametrize("beta", [5.5, 15.0])
def test_a_path_settles_in_the_wells(beta: float) -> None:
    """At -1 and 1 alike; around a well as the linearised process of steps, beyond the first half.

    There the drift is -beta (u - 1): of the steps u' = (1 - beta STEP) u + noise the variance is
    STEP / (1 - (1 - beta STEP)^2).
    """
    x = world().paths(beta, 20_000, generator(0, "paths"))[:, STEPS // 2 :]
    assert float((x > 0).double().mean()) == pytest.approx(0.5, abs=0.02)
    kept = 1 - beta * STEP
    spread = math.sqrt(STEP / (1 - kept**2))
    assert float(x.abs().median()) == pytest.approx(1, abs=0.15)
    middle = x[:, -1].abs().quantile(torch.tensor([0.159, 0.841], dtype=torch.float64))
    assert float(middle.diff() / 2) == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize("beta", [1.0, 15.0])
def test_the_density_is_that_of_the_steps(beta: float) -> None:
    """A difference of log densities, a Gaussian at a time."""
    here, draw = world(), generator(0, "density")
    x = here.paths(beta, 2, draw)
    y = here.measured(x[:1], draw).expand(2, -1)

    def slow(path: list[float], seen: list[float]) -> float:
        total, before = 0.0, 0.0
        for u in path:
            mean = before + STEP * beta * before * (1 - before**2) / (1 + before**2)
            total -= (u - mean) ** 2 / (2 * STEP)
            before = u
        for row, value in zip(here.m.tolist(), seen, strict=True):
            mean = sum(m * u for m, u in zip(row, path, strict=True))
            total -= (value - mean) ** 2 / (2 * DEVIATION**2)
        return total

    found = here.log_density(x, y, beta)
    expected = [slow(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_chain_finds_the_mean_that_is_known() -> None:
    """Without drift all is Gaussian, and the mean is C M^T y / DEVIATION^2.

    After 300 steps of which some thirty count, an error has a thirtieth of the variance.
    """
    here, draw = world(), generator(0, "chain")
    x = here.paths(0.0, 20, draw)
    y = here.measured(x, draw)
    covariance = here.without_drift()
    exact = y @ here.m @ covariance / DEVIATION**2
    found = here.posterior_mean(y, 0.0, draw, steps=300)
    apart = (found - exact).square().sum(1).mean()
    assert 0 < apart < covariance.trace() / 10


def test_the_chain_goes_where_the_wells_are() -> None:
    """Which a Gaussian prior does not know: the mean is nearer to the true path for it."""
    here, draw = world(), generator(0, "wells")
    beta = 40.0  # a strong pull, at which the steps are still stable
    x = here.paths(beta, 200, draw)
    y = here.measured(x, draw)
    gaussian = y @ here.m @ here.without_drift() / DEVIATION**2
    found = here.posterior_mean(y, beta, draw, steps=200)
    assert (found - x).square().sum() < (gaussian - x).square().sum()


def test_the_drift_has_three_zeros_and_two_wells() -> None:
    u = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    values = drift(u, 4.0)
    torch.testing.assert_close(values, torch.zeros_like(values))
    [slope] = torch.autograd.grad(values.sum(), u)
    torch.testing.assert_close(slope, torch.tensor([-4.0, 4.0, -4.0], dtype=torch.float64))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short trainings of fewer replicates and conditions, with a fifth of the numbers."""
    monkeypatch.setattr(example, "REPLICATES", 4)
    settings = {
        "STEPS": 10, "STEP": 0.1, "MEASURED": 20, "PER_SOURCE": 300, "TESTED": 10, "SHOTS": (10,),
        "SAMPLING_STEPS": 8,
        "WIDTHS": replace(example.WIDTHS, x=10, y=20, code=4, encoder=(64,)),
        "TRANSFER": Training(steps=100, rate=3e-3, batch=100),
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setattr(example, name, value)


def test_with_ten_samples_a_frozen_encoder_is_better_than_none(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = example.problem()
    source = pretrain(example.WIDTHS, *here.sources(), Training(steps=200, rate=5e-3, batch=50))
    results, others = example.measure(here, source, 5.5)
    [of] = results.values()
    frozen, scratch = of[FROZEN], of[SCRATCH]
    assert frozen.mean < 0.8 * scratch.mean
    assert 0 < others[example.SOURCE] < scratch.mean
    example.draw_panels({"beta 5.5": (results, others)}, "distance", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 0
    example.report(results, others, "distance")
    example.report_published(5.5)
    assert "m 10 14.47 21.99" in capsys.readouterr().out
