"""Each kind of prediction against the algebra of diffusers' own schedulers."""

from typing import Any, get_args

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from antcli.diffusion.prediction import Convention, Prediction, to_eps
from antcli.diffusion.schedule import Schedule

PREDICTIONS = get_args(Prediction)
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
T = torch.tensor([0, 1, 10, 250, 500, 900])


def drawn() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, len(T), 3, 4, 4, generator=draw)
    return x_0, eps


def schedule_of(scheduler: Any) -> Schedule:
    return Schedule(scheduler.betas.double())


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_right_prediction_tells_the_noise(prediction: Prediction, kind: str) -> None:
    scheduler, (x_0, eps) = DDPMScheduler(beta_schedule=kind), drawn()
    x_t = scheduler.add_noise(x_0, eps, T)
    velocity = scheduler.get_velocity(x_0, eps, T)
    output = {"epsilon": eps, "v_prediction": velocity, "sample": x_0}[prediction]
    found = to_eps(output, x_t, T, schedule_of(scheduler), prediction)
    # At t = 0 diffusers rounds 1 - alpha_bar, 1e-4, to the precision of 1.
    torch.testing.assert_close(found, eps, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_step_by_the_noise_is_the_step_by_the_prediction(
    prediction: Prediction, kind: str
) -> None:
    """Of any output, right or wrong."""
    settings = {"beta_schedule": kind, "clip_sample": False, "timestep_spacing": "trailing"}
    theirs = DDIMScheduler(**settings, prediction_type=prediction)
    ours = DDIMScheduler(**settings)
    output, x_t = drawn()
    for scheduler in (theirs, ours):
        scheduler.set_timesteps(1000)
    for i, t in enumerate(T):
        one, x = output[i : i + 1], x_t[i : i + 1]
        eps = to_eps(one, x, t[None], schedule_of(ours), prediction)
        expected = theirs.step(one, int(t), x, return_dict=False)[0]
        found = ours.step(eps, int(t), x, return_dict=False)[0]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_of_a_learned_variance_only_the_mean_counts() -> None:
    output, x_t = torch.randn(6, 6, 4, 4), torch.randn(6, 3, 4, 4)
    for prediction in PREDICTIONS:
        convention = Convention(Schedule.linear(), prediction)
        found = convention.eps(output, x_t, T)
        torch.testing.assert_close(found, convention.eps(output[:, :3], x_t, T), rtol=0, atol=0)


def test_each_image_of_a_batch_has_the_condition() -> None:
    condition = {"class_labels": torch.tensor([7]), "encoder_hidden_states": torch.randn(1, 2, 3)}
    found = Convention(Schedule.linear(), condition=condition).inputs(torch.zeros(4, 3, 8, 8))
    torch.testing.assert_close(found["class_labels"], torch.tensor([7, 7, 7, 7]))
    expected = condition["encoder_hidden_states"].repeat(4, 1, 1)
    torch.testing.assert_close(found["encoder_hidden_states"], expected)
