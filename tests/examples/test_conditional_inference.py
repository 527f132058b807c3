"""Posteriors of a linear-Gaussian problem, and which way the transfer goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import conditional_inference as example
import pytest
import torch
from conditional_inference import TARGET, World, errors, prior, world
from conditional_tasks import FROZEN, SCRATCH, Training

from antcli.evaluation.frechet import Gaussian
from antcli.randomness import generator


@pytest.fixture
def here() -> World:
    return world()


def test_a_posterior_is_the_joint_gaussian_of_which_y_is_known(here: World) -> None:
    """By the covariances of x and y, where the example adds precisions."""
    own = prior(3)
    [y] = here.samples(own, 1, generator(0, "y"))[1].double()
    found = here.posterior(own, y)
    both = own.covariance @ here.a.T
    gain = both @ (here.a @ both + here.spread).inverse()
    torch.testing.assert_close(found.mean, own.mean + gain @ (y - here.a @ own.mean))
    torch.testing.assert_close(found.covariance, own.covariance - gain @ both.T)


def test_samples_are_of_that_joint_gaussian(here: World) -> None:
    own = prior(2)
    x, y = here.samples(own, 20_000, generator(0, "many"))
    # The largest variances are about 2: a standard error of .02.
    torch.testing.assert_close(x.mean(0).double(), own.mean, atol=0.06, rtol=0)
    torch.testing.assert_close(torch.cov(x.T).double(), own.covariance, atol=0.1, rtol=0)
    expected = here.a @ own.covariance @ here.a.T + here.spread
    torch.testing.assert_close(torch.cov(y.T).double(), expected, atol=0.1, rtol=0)


def test_of_a_condition_two_numbers_matter_whatever_the_prior(here: World) -> None:
    [y] = here.samples(prior(0), 1, generator(0, "y"))[1].double()
    matters = torch.linalg.solve(here.spread, here.a)  # [64, 2]
    other = torch.randn(64, generator=generator(0, "other"), dtype=torch.float64)
    off = other - matters @ torch.linalg.lstsq(matters, other).solution
    assert off.norm() > 1
    for task in (0, 5, TARGET):
        torch.testing.assert_close(
            here.posterior(prior(task), y + off).mean, here.posterior(prior(task), y).mean
        )
        moved = here.posterior(prior(task), y + here.a.sum(1))
        assert (moved.mean - here.posterior(prior(task), y).mean).norm() > 0.1


def test_the_posteriors_own_samples_are_next_to_right(here: World) -> None:
    """Of 64 samples a mean is off by tr C / 64 in the mean, and a covariance by a little more."""
    y = example.tested(here)
    found = example.perfect(here, y)
    spread = float(here.posterior(prior(TARGET), y[0]).covariance.trace())
    assert spread / 64 < found < 3 * spread / 64
    assert example.without_condition(here, y) > 20 * found
    shifted = torch.stack([here.posterior(prior(TARGET), one).mean + 3 for one in y])
    noise = 0.4 * torch.randn(1, len(y), 500, 2, generator=generator(0, "noise"))
    # Two coordinates that are 3 off: 18 from the means, whose standard error is .02.
    assert float(errors(here, shifted[:, None] + noise, y)) == pytest.approx(18, abs=0.2)


def test_an_ellipse_holds_its_share() -> None:
    from conditional_figures import ellipse

    of = Gaussian(
        torch.tensor([1.0, -2.0]).double(), torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
    )
    apart = ellipse(of) - of.mean
    # 5.991: the .95 quantile of chi squared of two degrees of freedom.
    squares = (apart @ of.covariance.inverse() * apart).sum(1)
    torch.testing.assert_close(squares, torch.full_like(squares, 5.991), atol=1e-3, rtol=0)


def test_with_few_samples_a_frozen_encoder_is_better_than_none(
    run_small: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "SHOTS": (20,), "TESTED": 6, "DRAWN": 32, "PER_SOURCE": 400, "POINTS": 8,
        "PRETRAINING": replace(example.PRETRAINING, steps=300),
        "TRANSFER": Training(steps=100, rate=5e-3, batch=100),
    }  # fmt: skip
    kept = run_small(example, settings)
    frozen, scratch = kept[20][FROZEN], kept[20][SCRATCH]
    assert frozen.mean < 0.8 * scratch.mean
    assert (tmp_path / "conditional_inference.png").stat().st_size > 0
    assert "W2^2 to the posterior; mean" in capsys.readouterr().out
