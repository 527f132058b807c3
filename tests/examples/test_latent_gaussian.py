"""The closed form of Yang et al. against the loss itself, gradient descent and known errors."""

from __future__ import annotations

import math

import latent_gaussian as example
import pytest
import torch
from latent_gaussian import Level, World, descended, filled, loss, minimiser, second_moment, world
from torch import Tensor

LEVELS = [Level(t) for t in (1e-3, 0.1, 1.0, 3.0)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve dimensions in the place of 64."""
    monkeypatch.setattr(example, "AMBIENT", 12)


@pytest.fixture
def here() -> World:
    return world(3)


def slow_loss(v: Tensor, samples: Tensor, level: Level) -> float:
    """Denoising score matching of the network as it is written, a sample and a noise at a time.

    A mean over plus and minus sqrt(D) along each axis is the exact mean over Gaussian noise of
    what is quadratic in it.
    """
    size = samples.shape[1]
    m, sigma = math.sqrt(level.m2), math.sqrt(level.sigma2)
    latent = level.m2 + level.sigma2  # Sigma_t of lambda = 1 is this times I
    total = 0.0
    for x in samples:
        for axis in range(size):
            for sign in (1, -1):
                eps = torch.zeros(size, dtype=torch.float64)
                eps[axis] = sign * math.sqrt(size)
                x_t = m * x + sigma * eps
                z = v.T @ x_t
                f = z - level.sigma2 / latent * z
                score = (v @ f - x_t) / level.sigma2
                total += float((score + eps / sigma).square().sum()) * level.sigma2**2
    return total / (2 * size * len(samples))


@pytest.mark.parametrize("level", LEVELS)
def test_the_loss_is_that_of_the_score_network(level: Level, here: World) -> None:
    samples = here.samples(7, 0)
    v = here.source + 0.1 * here.target
    found = float(loss(v, second_moment(samples), level))
    assert found == pytest.approx(slow_loss(v, samples, level), rel=1e-9)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("count", [2, 40])
def test_the_closed_form_is_stationary_and_no_neighbour_is_lower(
    level: Level, count: int, here: World
) -> None:
    c = second_moment(here.samples(count, 0))
    v = minimiser(c, 3, level).requires_grad_()
    lowest = loss(v, c, level)
    [gradient] = torch.autograd.grad(lowest, v)
    assert gradient.abs().max() < 1e-9
    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        other = v.detach() + 0.05 * torch.randn(v.shape, generator=draw, dtype=torch.float64)
        assert loss(other, c, level) > lowest


@pytest.mark.parametrize("level", LEVELS[:3])
def test_gradient_descent_comes_to_the_closed_form(level: Level, here: World) -> None:
    c = second_moment(here.samples(40, 0))
    v, other = minimiser(c, 3, level), descended(here.source, c, level, 1000)
    torch.testing.assert_close(other @ other.T, v @ v.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_of_all_samples_it_is_the_target_and_the_printed_lemma_is_not(
    level: Level, here: World
) -> None:
    c = here.target @ here.target.T
    assert here.error(minimiser(c, 3, level)) < 1e-24
    # Along the target's directions the printed lemma has 1 / (1 + sigma^2) in the place of 1.
    wrong = 3 * (1 / (1 + level.sigma2) - 1) ** 2
    printed = here.error(minimiser(c, 3, level, as_printed=True))
    assert printed == pytest.approx(wrong, rel=1e-9)


def test_fewer_samples_than_directions_leave_the_rest_out(here: World) -> None:
    """At next to no noise the closed form is the projector on the samples."""
    for count in (1, 2):
        v = minimiser(second_moment(here.samples(count, 0)), 3, Level(1e-8))
        assert here.error(v) == pytest.approx(3 - count, abs=1e-4)


def test_what_is_missing_is_the_source_off_the_samples(here: World) -> None:
    samples = here.samples(2, 0)
    v = minimiser(second_moment(samples), 3, Level(1e-8))
    full = filled(v, here.source, 2)
    torch.testing.assert_close(full.T @ full, torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(full @ (full.T @ samples.T), samples.T, atol=1e-5, rtol=0)
    both = torch.linalg.qr(torch.cat([here.source, samples.T], dim=1)).Q
    torch.testing.assert_close(both @ (both.T @ full), full, atol=1e-8, rtol=0)
    assert here.error(full) < min(here.error(v), here.error(here.source))
    enough = minimiser(second_moment(here.samples(9, 0)), 3, Level(1e-3))
    assert filled(enough, here.source, 3) is enough


def test_the_source_is_as_far_off_as_is_said() -> None:
    """The d / 2 of the report: 2 d sin(30)^2."""
    for dimension in (2, 5):
        here = world(dimension)
        eye = torch.eye(dimension, dtype=torch.float64)
        torch.testing.assert_close(here.target.T @ here.target, eye)
        assert here.error(here.source) == pytest.approx(dimension / 2)


def test_no_data_set_meets_the_condition_of_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    for images, dimension, _ in example.DATASETS.values():
        assert example.alpha(images, dimension) > 1
    assert example.alpha(60_000, 25) == pytest.approx(5.45, abs=0.005)
    example.report_rule()
    assert "CelebA    n_s   200,000  d 24  asks for 8 (paper 8)" in capsys.readouterr().out
