import math
from collections.abc import Callable, Sequence
from typing import Literal

import pytest
import torch
from method_steps import as_step
from torch import Tensor, nn

from antcli.diffusion.path import BetaPath
from antcli.methods.choice import Step
from antcli.methods.noise.adversarial import (
    AdversarialNoise,
    NoiseConfig,
    normalise,
    residual_gradient,
)

KINDS: tuple[Literal["full", "residual"], ...] = ("full", "residual")
PATH = BetaPath.linear()


class TinyDenoiser(nn.Module):
    """A smooth eps_theta(x_t, t), in float64."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first = nn.Conv2d(2, 4, 3, padding=1).double()
            self.second = nn.Conv2d(4, 2, 3, padding=1).double()

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        h = torch.tanh(self.first(x_t) + torch.cos(t / 200).view(-1, 1, 1, 1))
        out: Tensor = self.second(h)
        return out


@pytest.fixture
def network() -> TinyDenoiser:
    return TinyDenoiser()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """eps, x_0 and t of three samples."""
    draw = torch.Generator().manual_seed(1)
    eps, x_0 = torch.randn(2, 3, 2, 3, 3, generator=draw, dtype=torch.float64)
    return eps, x_0.clamp(-1, 1), torch.tensor([20, 400, 900])


# --- slow versions, one sample and one number at a time ------------------------------------


def x_t_of(eps: Tensor, x_0: Tensor, t: int) -> Tensor:
    alpha_bar = math.prod(1 - beta for beta in PATH.betas[: t + 1].tolist())
    return math.sqrt(alpha_bar) * x_0 + math.sqrt(1 - alpha_bar) * eps


def residual(eps: Tensor, x_0: Tensor, t: int, network: nn.Module) -> Tensor:
    with torch.no_grad():
        return eps - network(x_t_of(eps, x_0, t)[None], torch.tensor([t]))[0]


def slow_full(eps: Tensor, x_0: Tensor, t: int, network: nn.Module) -> Tensor:
    """Finite differences of |eps - eps_theta|^2, x_t moving with eps."""
    gradient, h = torch.zeros_like(eps), 1e-5
    for i in range(eps.numel()):
        shift = torch.zeros_like(eps)
        shift.view(-1)[i] = h
        up, down = (residual(eps + s * shift, x_0, t, network).square().sum() for s in (1, -1))
        gradient.view(-1)[i] = (up - down) / (2 * h)
    return gradient


def slow_residual(eps: Tensor, x_0: Tensor, t: int, network: nn.Module) -> Tensor:
    return 2 * residual(eps, x_0, t, network)


def slow_norm(eps: Tensor) -> Tensor:
    values = eps.flatten().tolist()
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    return torch.tensor([(v - mean) / spread for v in values], dtype=eps.dtype).view_as(eps)


SLOW: dict[str, Callable[..., Tensor]] = {"full": slow_full, "residual": slow_residual}


# --- Eq. 7 ---------------------------------------------------------------------------------


def step_of(batch: Sequence[Tensor], network: nn.Module) -> Step:
    eps, x_0, t = batch
    return as_step(x_0, eps, t, network)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(
    kind: Literal["full", "residual"],
    network: TinyDenoiser,
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    eps, x_0, t = batch
    gradient = residual_gradient(eps, x_0, t, network, PATH, kind)
    for i in range(3):
        expected = SLOW[kind](eps[i], x_0[i], int(t[i]), network)
        torch.testing.assert_close(gradient[i], expected, rtol=1e-6, atol=1e-7)


def test_the_two_gradients_differ_by_the_way_through_the_network(
    network: TinyDenoiser, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Full = (1 - J^T) residual, J the Jacobian of eps_theta to eps."""
    eps, x_0, t = batch
    for i in range(3):
        sample = eps[i : i + 1], x_0[i : i + 1], t[i : i + 1]
        full = residual_gradient(*sample, network, PATH, "full").flatten()
        closed = residual_gradient(*sample, network, PATH, "residual").flatten()

        def predicted(e: Tensor, i: int = i) -> Tensor:
            x_t = PATH.add_noise(x_0[i : i + 1], e.view(1, 2, 3, 3), t[i : i + 1])
            out: Tensor = network(x_t, t[i : i + 1])
            return out.flatten()

        jacobian = torch.autograd.functional.jacobian(predicted, eps[i].flatten())
        torch.testing.assert_close(full, closed - jacobian.T @ closed)
        assert not torch.allclose(full, closed, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 3])
def test_adversarial_noise_against_a_slow_loop(
    kind: Literal["full", "residual"],
    steps: int,
    network: TinyDenoiser,
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    config = NoiseConfig(inner_steps=steps, omega=0.1, gradient=kind)
    found = AdversarialNoise(config)(step_of(batch, network))
    for i, (eps, x_0, t) in enumerate(zip(*batch, strict=True)):
        expected = eps
        for _ in range(steps):
            gradient = SLOW[kind](expected, x_0, int(t), network)
            expected = slow_norm(expected + 0.1 * gradient)
        torch.testing.assert_close(found[i], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_does_not_see_its_batch(
    kind: Literal["full", "residual"],
    network: TinyDenoiser,
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Sums over each sample, not means over the batch: omega means the same for any size."""
    config = NoiseConfig(inner_steps=2, omega=0.1, gradient=kind)
    together = AdversarialNoise(config)(step_of(batch, network))
    for i in range(3):
        alone = [part[i : i + 1] for part in batch]
        found = AdversarialNoise(config)(step_of(alone, network))
        torch.testing.assert_close(found[0], together[i])


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_gets_harder(
    kind: Literal["full", "residual"],
    network: TinyDenoiser,
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    config = NoiseConfig(inner_steps=5, omega=0.02, gradient=kind)
    before = normalise(batch[0])
    after = AdversarialNoise(config)(step_of((before, *batch[1:]), network))
    for i, t in enumerate(batch[2].tolist()):
        losses = [
            residual(eps[i], batch[1][i], t, network).square().sum() for eps in (before, after)
        ]
        assert losses[1] > losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_no_parameter_receives_a_gradient(
    kind: Literal["full", "residual"],
    network: TinyDenoiser,
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    network.first.requires_grad_(False)
    kept = [part.clone() for part in batch]
    config = NoiseConfig(inner_steps=2, omega=0.1, gradient=kind)
    for grad_enabled in (True, False):
        with torch.set_grad_enabled(grad_enabled):
            found = AdversarialNoise(config)(step_of(batch, network))
        assert not found.requires_grad
    assert all(p.grad is None for p in network.parameters())
    assert [p.requires_grad for p in network.parameters()] == [False, False, True, True]
    torch.testing.assert_close(list(batch), kept, rtol=0, atol=0)


def test_no_inner_step_leaves_the_noise(
    network: TinyDenoiser, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    config = NoiseConfig(inner_steps=0)
    found = AdversarialNoise(config)(step_of(batch, network))
    torch.testing.assert_close(found, batch[0], rtol=0, atol=0)


# --- Norm ----------------------------------------------------------------------------------


def test_norm_brings_each_sample_to_mean_0_and_deviation_1() -> None:
    scale = torch.tensor([1e-3, 1.0, 50.0]).view(3, 1, 1, 1)
    eps = torch.randn(3, 3, 4, 4) * scale + 7 * scale
    norm = normalise(eps)
    torch.testing.assert_close(norm.mean((1, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(norm.std((1, 2, 3), correction=0), torch.ones(3))
    for i in range(3):
        torch.testing.assert_close(norm[i], slow_norm(eps[i]), rtol=1e-4, atol=1e-5)


def test_norm_keeps_what_is_normal_already() -> None:
    eps = normalise(torch.randn(2, 3, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(normalise(eps), eps)
