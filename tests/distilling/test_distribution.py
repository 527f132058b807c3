"""Two scores of a student's answers, against closed forms of Gaussians in float64."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from antcli.diffusion.path import BetaPath
from antcli.distilling.distribution import LookedAt, ScoreObjective, direction
from antcli.methods.choice import Step

PATH = BetaPath.linear()
COUNT = 20_000


def ratio(t: Tensor) -> Tensor:
    alpha, sigma = PATH.alpha_sigma(t, torch.empty(len(t), 1, 1, 1, dtype=torch.float64))
    return sigma / alpha


def step(end: float, mean: float, spread: float, tau: float) -> LookedAt:
    """Of a student whose answers, where its lines end, are N(mean, spread^2) over alpha."""
    t, ends = torch.full((COUNT,), 799), torch.full((COUNT,), end)
    answer = mean + spread * torch.randn(COUNT, 1, 1, 1, dtype=torch.float64)
    x_t = torch.randn(COUNT, 1, 1, 1, dtype=torch.float64)
    alpha, _ = PATH.alpha_sigma(t, x_t)
    # the line through x_t and the answer: x_0 + n eps at both of its places
    eps = (x_t / alpha - answer) / (ratio(t) - ratio(ends))
    x_0 = answer - ratio(ends) * eps
    none: Any = None
    network: Any = SimpleNamespace(convention=SimpleNamespace(path=PATH))
    plain = Step(network, lambda x, t: eps, nullcontext, x_0, eps, t, none, none, none)
    more = torch.randn(COUNT, 1, 1, 1, dtype=torch.float64)
    looked = LookedAt.of(plain, ends, torch.full((COUNT,), tau), more)
    looked.__dict__["output"] = eps  # the network's own is float32
    return looked


def score_of(mean: float, variance: Tensor) -> Any:
    """Eps where x / alpha is N(mean, variance)."""

    def eps(x: Tensor, t: Tensor) -> Tensor:
        alpha, _ = PATH.alpha_sigma(t, x)
        return ratio(t) * (x / alpha - mean) / variance

    return eps


@pytest.mark.parametrize("end", [-1.0, 188.0])
def test_answers_are_looked_at_with_the_noise_that_is_missing(end: float) -> None:
    looked = step(end, 0.3, 0.5, 400.0)
    x_tau, tau, new = looked.looked
    alpha, _ = PATH.alpha_sigma(tau, x_tau)
    n, n_end = ratio(tau)[0].item(), ratio(looked.end)[0].item()
    found = x_tau / alpha
    assert float(found.mean()) == pytest.approx(0.3, abs=5 * n / COUNT**0.5)
    assert float(found.var()) == pytest.approx(0.25 + n**2 - n_end**2, rel=0.05)
    assert new[0].item() == pytest.approx(1 - (n_end / n) ** 2)


@pytest.mark.parametrize("end", [-1.0, 188.0])
def test_the_score_that_the_loss_wants_is_that_of_the_answers(end: float) -> None:
    looked = step(end, 0.3, 0.5, 400.0)
    _, tau, _ = looked.looked
    variance = 0.25 + ratio(tau) ** 2 - ratio(looked.end) ** 2

    def loss(mean: float, scale: float) -> float:
        objective = ScoreObjective(predict=score_of(mean, variance * scale))
        return float(objective.loss(*objective.prepared(looked)))

    best = loss(0.3, 1.0)
    assert all(loss(mean, 1.0) > best for mean in (0.1, 0.5))
    assert all(loss(0.3, scale) > best for scale in (0.8, 1.25))


@pytest.mark.parametrize("end", [-1.0, 188.0])
def test_answers_are_sent_to_where_the_teachers_are(end: float) -> None:
    looked = step(end, 0.8, 0.5, 400.0)
    _, tau, _ = looked.looked
    variance = 0.25 + ratio(tau) ** 2 - ratio(looked.end) ** 2
    own, teacher = score_of(0.8, variance), score_of(0.3, variance)
    away = direction(looked, teacher, own)
    assert (away > 0).all()  # of what is too high, the loss falls where it is less
    assert (direction(looked, own, teacher) < 0).all()
    assert torch.equal(direction(looked, own, own), torch.zeros_like(away))
