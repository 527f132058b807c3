import math

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from antcli.diffusion.schedule import Schedule

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


def random_betas() -> Tensor:
    return torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.3


def digits(value: float, like: float) -> float:
    """`value` rounded to as many places as `like` was written with."""
    return round(value, len(str(f"{like:.5f}".rstrip("0")).partition(".")[2]))


@pytest.fixture
def oracle() -> DDPMScheduler:
    return DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")


def test_linear_betas_are_those_of_diffusers(oracle: DDPMScheduler) -> None:
    schedule = Schedule.linear()
    assert schedule.timesteps == 1000
    assert schedule.betas.dtype == torch.float64
    torch.testing.assert_close(schedule.betas.float(), oracle.betas, rtol=1e-6, atol=0)
    torch.testing.assert_close(schedule.alpha_bar.float(), oracle.alphas_cumprod, rtol=1e-4, atol=0)


def test_other_linear_schedules() -> None:
    schedule = Schedule.linear(timesteps=5, start=0.1, end=0.5)
    expected = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    torch.testing.assert_close(schedule.betas, expected)


@pytest.mark.parametrize("betas", [Schedule.linear().betas, random_betas()])
def test_alpha_bar_and_sigma_hat_against_a_slow_loop(betas: Tensor) -> None:
    schedule = Schedule(betas)
    alpha_bar = 1.0
    for t, beta in enumerate(betas.tolist()):
        before, alpha_bar = alpha_bar, alpha_bar * (1 - beta)
        sigma_hat = (1 - before) * math.sqrt((1 - beta) / (1 - alpha_bar))
        # 1 - alpha_bar loses digits where alpha_bar is near 1.
        assert schedule.alpha_bar[t].item() == pytest.approx(alpha_bar, rel=1e-12)
        assert schedule.alpha_bar_previous[t].item() == pytest.approx(before, rel=1e-12)
        assert schedule.sigma_hat[t].item() == pytest.approx(sigma_hat, rel=1e-9, abs=1e-12)


def test_sigma_hat_is_zero_at_the_last_denoising_step() -> None:
    assert Schedule.linear().sigma_hat[0] == 0
    assert Schedule.linear().alpha_bar_previous[0] == 1


@pytest.mark.parametrize("t", TABLE)
def test_sigma_hat_against_the_table(t: int) -> None:
    schedule = Schedule.linear()
    noise, squared, sigma_hat = TABLE[t]
    assert digits(1 - schedule.alpha_bar[t].item(), noise) == noise
    assert digits(schedule.sigma_hat[t].item() ** 2, squared) == squared
    assert digits(schedule.sigma_hat[t].item(), sigma_hat) == sigma_hat


def test_add_noise_is_that_of_diffusers(oracle: DDPMScheduler) -> None:
    x_0, eps = torch.randn(2, 6, 3, 4, 4)
    t = torch.tensor([0, 1, 10, 500, 998, 999])
    x_t = Schedule.linear().add_noise(x_0, eps, t)
    assert x_t.dtype == torch.float32
    torch.testing.assert_close(x_t, oracle.add_noise(x_0, eps, t), rtol=1e-4, atol=1e-4)


def test_add_noise_sample_by_sample() -> None:
    schedule = Schedule(random_betas())
    x_0, eps = torch.randn(2, 3, 2, 4, 5, dtype=torch.float64)
    t = torch.tensor([0, 39, 7])
    x_t = schedule.add_noise(x_0, eps, t)
    for i in range(3):
        alpha_bar = math.prod(1 - beta for beta in schedule.betas[: t[i] + 1].tolist())
        expected = math.sqrt(alpha_bar) * x_0[i] + math.sqrt(1 - alpha_bar) * eps[i]
        torch.testing.assert_close(x_t[i], expected, rtol=1e-12, atol=1e-12)


def test_x_0_is_predicted_as_diffusers_does(oracle: DDPMScheduler) -> None:
    x_t, eps = torch.randn(2, 4, 3, 4, 4)
    oracle.register_to_config(clip_sample=False)
    for t in (0, 10, 500, 999):
        expected = oracle.step(eps, t, x_t).pred_original_sample
        predicted = Schedule.linear().predict_x_0(x_t, eps, torch.full((4,), t))
        torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-4)


def test_predict_x_0_undoes_add_noise() -> None:
    schedule = Schedule.linear()
    x_0, eps = torch.randn(2, 4, 3, 4, 4, dtype=torch.float64)
    t = torch.tensor([0, 3, 600, 999])
    back = schedule.predict_x_0(schedule.add_noise(x_0, eps, t), eps, t)
    torch.testing.assert_close(back, x_0, rtol=1e-9, atol=1e-9)


def test_values_are_picked_for_samples_of_any_shape() -> None:
    values = torch.tensor([0.5, 0.25], dtype=torch.float64)
    for like in (torch.zeros(3, 2), torch.zeros(3, 2, 4, 4)):
        picked = Schedule.at(values, torch.tensor([1, 0, 1]), like)
        assert picked.dtype == like.dtype
        assert picked.shape == (3, *[1] * (like.ndim - 1))
        assert picked.flatten().tolist() == [0.25, 0.5, 0.25]
