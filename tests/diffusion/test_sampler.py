"""Where on the path sampling begins: few steps waste none on what is hardly an image."""

import pytest
import torch

from antcli.diffusion.path import BetaPath, Path, StraightPath
from antcli.diffusion.sampler import FEW, MOST_NOISE, FewSteps, Sampler

DDPM = BetaPath(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
LATENT = BetaPath(torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2)


def first_noise(sampler: Sampler, path: Path) -> float:
    """Sigma / alpha where it first asks the network."""
    t = path.steps(sampler.steps, sampler.limit(path))[:1]
    alpha, sigma = path.alpha_sigma(t, torch.empty(1, dtype=torch.float64))
    return float(sigma / alpha)


@pytest.mark.parametrize("path", [DDPM, StraightPath()])
@pytest.mark.parametrize("scheduler", ["dpm++", "ddim", "ddpm"])
def test_few_steps_begin_where_there_is_an_image(scheduler: str, path: Path) -> None:
    few = Sampler(scheduler, 4)  # type: ignore[arg-type]
    many = few.asked(steps=FEW)
    assert (
        0.9 * MOST_NOISE < first_noise(few, path) <= 1.02 * MOST_NOISE
    )  # a thousandth of the path more
    assert many.limit(path) is None
    assert first_noise(many, path) > 4 * MOST_NOISE
    assert few.asked(steps=FEW - 1).limit(path) == few.limit(path)


def test_a_path_that_ends_with_less_noise_is_gone_all_along() -> None:
    assert first_noise(Sampler(steps=4), LATENT) == first_noise(Sampler(steps=FEW), LATENT)


def test_what_was_made_for_few_steps_begins_where_it_was_made_for() -> None:
    assert FewSteps("dpm++", 4, 0.6).limit(DDPM) == DDPM.limit(0.6)
    assert FewSteps("dpm++", 4, 1.0).limit(DDPM) is None


def test_steps_of_one_scheduler_are_not_another_s() -> None:
    own = Sampler(steps=10)
    assert own.asked() == own
    assert own.asked("dpm++") == own
    assert own.asked("ddim") == Sampler("ddim", 25)
    assert own.asked("ddim", 7) == Sampler("ddim", 7)
    assert own.asked(steps=7) == Sampler(steps=7)


def test_an_image_says_where_it_began() -> None:
    assert str(Sampler()) == "dpm++, 25 steps"
    assert str(Sampler(steps=4)) == "dpm++, 4 steps, noise 25 at most"
    assert str(FewSteps(steps=4, share=0.8)) == "dpm++, 4 steps, distilled"
