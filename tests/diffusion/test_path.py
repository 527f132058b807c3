"""Paths of noise against slow float64 versions of the formulas, and diffusers' schedulers."""

import math
from fractions import Fraction
from typing import get_args

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from antcli.diffusion.path import MOST_GAIN, BetaPath, Path, Prediction, StraightPath
from antcli.randomness import generator

# 1 - alpha_bar, sigma_hat squared and sigma_hat for linear betas 1e-4..0.02 and T = 1000,
# worked out by hand from the equations of ANT, to the digits that are given.
TABLE = {
    1: (0.00022, 0.00005, 0.00674),
    10: (0.00219, 0.00164, 0.0405),
    100: (0.1049, 0.1009, 0.3177),
    250: (0.4786, 0.4709, 0.6862),
    500: (0.9222, 0.9114, 0.9547),
    999: (0.99996, 0.9800, 0.9899),
}
PREDICTIONS = get_args(Prediction)
LINEAR, STRAIGHT = BetaPath.linear(), StraightPath()
PLACES: list[tuple[Path, Tensor]] = [
    (LINEAR, torch.tensor([0, 1, 10, 500, 999])),
    (LINEAR, torch.tensor([-0.5, 0.25, 10.0, 500.5, 998.9])),
    (STRAIGHT, torch.tensor([1e-3, 0.1, 0.5, 0.9, 0.999])),
]
LIKE = torch.empty(1, 3, 4, 4, dtype=torch.float64)
EPS = torch.finfo(torch.float32).eps


def random_betas() -> Tensor:
    return torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.3


def digits(value: float, like: float) -> float:
    """`value` rounded to as many places as `like` was written with."""
    return round(value, len(str(f"{like:.5f}".rstrip("0")).partition(".")[2]))


def level(path: Path, t: float) -> tuple[float, float]:
    alpha, sigma = path.alpha_sigma(torch.tensor([t]), LIKE)
    return alpha.item(), sigma.item()


@pytest.fixture
def oracle() -> DDPMScheduler:
    return DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")


# --- betas ---------------------------------------------------------------------------------


@pytest.mark.parametrize("betas", [LINEAR.betas, random_betas()])
def test_alpha_sigma_and_sigma_hat_against_a_slow_loop(betas: Tensor) -> None:
    path, alpha_bar = BetaPath(betas), 1.0
    for t, beta in enumerate(betas.tolist()):
        before, alpha_bar = alpha_bar, alpha_bar * (1 - beta)
        sigma_hat = (1 - before) * math.sqrt((1 - beta) / (1 - alpha_bar))
        # 1 - alpha_bar loses digits where alpha_bar is near 1.
        assert level(path, t) == pytest.approx(
            (math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)), rel=1e-9
        )
        assert path.sigma_hat(torch.tensor([t]), LIKE).item() == pytest.approx(
            sigma_hat, rel=1e-9, abs=1e-12
        )


@pytest.mark.parametrize("t", TABLE)
def test_sigma_hat_against_the_table(t: int) -> None:
    noise, squared, sigma_hat = TABLE[t]
    found = LINEAR.sigma_hat(torch.tensor([t]), LIKE).item()
    assert digits(level(LINEAR, t)[1] ** 2, noise) == noise
    assert digits(found**2, squared) == squared
    assert digits(found, sigma_hat) == sigma_hat


def test_without_noise_at_minus_one_and_between_steps_the_logarithm_is_linear() -> None:
    assert level(LINEAR, -1) == (1, 0)
    assert LINEAR.sigma_hat(torch.tensor([0]), LIKE).item() == 0
    between = [math.log(level(LINEAR, t)[0]) for t in (41, 41.25, 42)]
    assert between[1] == pytest.approx(0.75 * between[0] + 0.25 * between[2], rel=1e-12)


def test_float32_is_exact_to_its_rounding_at_the_least_noise_too() -> None:
    t = torch.arange(1000)
    exact = LINEAR.alpha_sigma(t, LIKE)
    for found, expected in zip(LINEAR.alpha_sigma(t, LIKE.float()), exact, strict=True):
        assert found.dtype == torch.float32
        # The table, exp or expm1, and the root round once each.
        torch.testing.assert_close(found.double(), expected, rtol=8 * EPS, atol=0)


def test_linear_betas_are_those_of_diffusers(oracle: DDPMScheduler) -> None:
    assert LINEAR.span == 1000
    torch.testing.assert_close(LINEAR.betas.float(), oracle.betas, rtol=1e-6, atol=0)
    alpha, _ = LINEAR.alpha_sigma(torch.arange(1000), LIKE)
    torch.testing.assert_close(
        alpha.square().flatten().float(), oracle.alphas_cumprod, rtol=1e-4, atol=0
    )


def test_add_noise_and_x_0_are_those_of_diffusers(oracle: DDPMScheduler) -> None:
    x_0, eps = torch.randn(2, 6, 3, 4, 4)
    t = torch.tensor([0, 1, 10, 500, 998, 999])
    x_t = LINEAR.add_noise(x_0, eps, t)
    assert x_t.dtype == torch.float32
    torch.testing.assert_close(x_t, oracle.add_noise(x_0, eps, t), rtol=1e-4, atol=1e-4)
    oracle.register_to_config(clip_sample=False)
    for i, step in enumerate(t.tolist()):
        expected = oracle.step(eps[i], step, x_t[i]).pred_original_sample
        found = LINEAR.to_x_0(eps[i : i + 1], x_t[i : i + 1], t[i : i + 1])[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# --- the straight path ---------------------------------------------------------------------


def test_the_straight_path_is_that_of_diffusers() -> None:
    scheduler, t = FlowMatchEulerDiscreteScheduler(), torch.tensor([0.25, 0.5, 0.751])
    x_0, eps = torch.randn(2, 3, 3, 4, 4)
    # Its own times are whole; it knows 250, 500 and 751.
    expected = scheduler.scale_noise(x_0, STRAIGHT.network_time(t), eps)
    torch.testing.assert_close(STRAIGHT.add_noise(x_0, eps, t), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(STRAIGHT.output(x_0, eps, t, "flow_prediction"), eps - x_0)


def test_an_euler_step_of_diffusers_ends_where_the_prediction_says() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[0.8, 0.3])
    x_t, velocity, t = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4), torch.tensor([0.8])
    expected = scheduler.step(velocity, scheduler.timesteps[0], x_t).prev_sample
    x_0 = STRAIGHT.to_x_0(velocity, x_t, t, "flow_prediction")
    eps = STRAIGHT.to_eps(velocity, x_t, t, "flow_prediction")
    found = STRAIGHT.add_noise(x_0, eps, torch.tensor([0.3]))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


# --- any path, any prediction --------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("path", "t"), PLACES)
def test_what_a_right_network_says_tells_x_0_and_eps(
    path: Path, t: Tensor, prediction: Prediction
) -> None:
    x_0, eps = torch.randn(2, len(t), 3, 4, 4, dtype=torch.float64)
    x_t, output = path.add_noise(x_0, eps, t), path.output(x_0, eps, t, prediction)
    torch.testing.assert_close(path.to_x_0(output, x_t, t, prediction), x_0, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(path.to_eps(output, x_t, t, prediction), eps, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_a_step_by_the_noise_is_diffusers_step_by_the_prediction(
    prediction: Prediction, kind: str
) -> None:
    """Of any output, right or wrong."""
    settings = {"beta_schedule": kind, "clip_sample": False, "timestep_spacing": "trailing"}
    theirs = DDIMScheduler(**settings, prediction_type=prediction)
    path = BetaPath(theirs.betas.double())
    theirs.set_timesteps(1000)
    t = torch.tensor([10, 50, 250, 500, 900])
    output, x_t = torch.randn(2, len(t), 3, 4, 4)
    x_0, eps = (to(output, x_t, t, prediction) for to in (path.to_x_0, path.to_eps))
    found = path.add_noise(x_0, eps, t - 1)
    for i, step in enumerate(t.tolist()):
        expected = theirs.step(output[i], step, x_t[i]).prev_sample
        torch.testing.assert_close(found[i], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("path", "t"), PLACES)
def test_log_snr_falls(path: Path, t: Tensor) -> None:
    log_snr = path.log_snr(t, LIKE).flatten()
    assert (log_snr.diff() < 0).all()
    alpha, sigma = level(path, float(t[1]))
    assert log_snr[1].item() == pytest.approx(math.log(alpha**2 / sigma**2), rel=1e-9)


@pytest.mark.parametrize(("path", "t"), PLACES)
def test_an_error_of_eps_weighs_the_same_whatever_the_network_says(path: Path, t: Tensor) -> None:
    for prediction in ("epsilon", "v_prediction"):
        weight = path.weight(t, LIKE, prediction)
        torch.testing.assert_close(weight, torch.ones_like(weight), rtol=1e-9, atol=0)
    alpha, sigma = path.alpha_sigma(t, LIKE)
    gain = alpha / sigma
    weight = path.weight(t, LIKE, "sample")
    torch.testing.assert_close(
        weight[gain <= MOST_GAIN], torch.ones_like(weight)[gain <= MOST_GAIN]
    )
    # What an error of the network's own x_0 counts, however little noise there is.
    assert (weight * gain.square()).max().item() <= MOST_GAIN**2 * (1 + 1e-9)
    assert gain.max() > MOST_GAIN


def test_a_flow_on_its_own_path_weighs_one() -> None:
    weight = STRAIGHT.weight(torch.tensor([0.0, 0.5, 0.999]), LIKE, "flow_prediction")
    assert (weight == 1).all()


# --- where a path is met -------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize(("path", "limit"), [(LINEAR, None), (LINEAR, 300), (STRAIGHT, 0.3)])
def test_draws_come_in_mirrored_pairs(path: Path, limit: float | None, size: int) -> None:
    t = path.antithetic(size, generator(0, "timesteps"), limit)
    assert t.shape == (size,)
    half = (size + 1) // 2
    torch.testing.assert_close(t[half:], path.mirror(t[: size - half], limit))
    assert t.min() >= 0
    assert limit is None or t.max() < limit


def test_whole_steps_are_uniform() -> None:
    t = BetaPath.linear(10).antithetic(20_001, generator(0, "timesteps"))
    assert t.dtype == torch.int64
    counts = torch.bincount(t, minlength=10)
    torch.testing.assert_close(counts / len(t), torch.full((10,), 0.1), rtol=0, atol=0.01)


def test_shares_of_a_path() -> None:
    assert [LINEAR.at(share) for share in (0, 0.1, 1)] == [0, 100, 999]
    assert [LINEAR.limit(share) for share in (1e-9, 0.6, 1)] == [1, 600, 1000]
    assert STRAIGHT.at(0.1) == STRAIGHT.limit(0.1) == 0.1
    assert LINEAR.steps(4).tolist() == [999, 749, 499, 249, -1]
    assert STRAIGHT.steps(2).tolist() == pytest.approx([0.999, 0.4995, 0])


@pytest.mark.parametrize("path", [LINEAR, STRAIGHT, BetaPath(random_betas())])
def test_where_noise_is_so_strong_against_a_search(path: Path) -> None:
    levels = [level(path, path.at(place / 1000)) for place in range(1001)]
    for noise in (0.0, 1e-3, 0.3, 1.0, 3.42, 60.3, 1e9):
        reached = (i for i in range(1, 1001) if levels[i][1] >= noise * levels[i][0])
        assert path.share_where(noise) == next(reached, 1000) / 1000


@pytest.mark.parametrize("limit", [None, 400, 7, 1])
@pytest.mark.parametrize("count", [1, 3, 12, 25, 400])
def test_whole_steps_below_a_limit_against_exact_fractions(count: int, limit: int | None) -> None:
    top = limit or 1000
    asked = min(count, top)
    expected = [round(Fraction(top * (asked - i), asked)) - 1 for i in range(asked)]
    assert LINEAR.steps(count, limit).tolist() == [*expected, -1]
    assert expected[0] == top - 1
    assert len({*expected, -1}) == asked + 1  # a step twice is none, and sigma at -1 is 0


@pytest.mark.parametrize(("limit", "top"), [(None, 0.999), (0.4, 0.4), (1.0, 0.999)])
def test_steps_of_the_straight_path_below_a_limit(limit: float | None, top: float) -> None:
    expected = [top * (5 - i) / 5 for i in range(6)]
    assert STRAIGHT.steps(5, limit).tolist() == pytest.approx(expected)


def test_values_fit_tensors_of_any_shape() -> None:
    for path, t in PLACES:
        for like in (torch.zeros(5, 2), torch.zeros(5, 2, 4, 4)):
            for values in path.alpha_sigma(t, like):
                assert values.dtype == like.dtype
                assert values.shape == (5, *[1] * (like.ndim - 1))
