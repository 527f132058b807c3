import math
from typing import Literal

import pytest
import torch
from method_steps import as_step_at
from torch import Tensor, nn

from antcli.diffusion.path import BetaPath
from antcli.methods.classifier import NoisyClassifier, new_classifier
from antcli.methods.target.guided import (
    GuidanceConfig,
    GuidedTarget,
    coefficient,
    log_likelihood_gradient,
)

PATH = BetaPath.linear()
# At t, of the paper, of the published code, and derived from the paper's Appendix A.2.
TABLE = {
    1: (0.00005, 0.00022, 0.00674),
    10: (0.00164, 0.00219, 0.0405),
    100: (0.1009, 0.1049, 0.3177),
    250: (0.4709, 0.4786, 0.6862),
    500: (0.9114, 0.9222, 0.9547),
    999: (0.9800, 0.99996, 0.9899),
}


@pytest.fixture
def classifier() -> NoisyClassifier:
    """Untrained and in float64."""
    return new_classifier(8, seed=0).double()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """eps, x_t and t of three samples."""
    draw = torch.Generator().manual_seed(1)
    eps, x_t = torch.randn(2, 3, 3, 8, 8, generator=draw, dtype=torch.float64)
    return eps, x_t, torch.tensor([10, 400, 900])


def log_p_target(classifier: nn.Module, x_t: Tensor, t: Tensor) -> Tensor:
    """Log p(target | x_t) of each sample; the logits are [source, target]."""
    with torch.no_grad():
        source, target = classifier(x_t, t).unbind(1)
        return target - torch.log(source.exp() + target.exp())


@pytest.mark.parametrize("t", TABLE)
def test_coefficients(t: int) -> None:
    for kind, expected in zip(("paper", "code", "derived"), TABLE[t], strict=True):
        like = torch.empty(1, 3, 8, 8, dtype=torch.float64)
        value = coefficient(PATH, torch.tensor([t]), like, kind)  # type: ignore[arg-type]
        # The table has four figures, or five places.
        assert value.item() == pytest.approx(expected, rel=2e-3, abs=5e-6)


def test_gradient_against_finite_differences(
    classifier: NoisyClassifier, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    _, x_t, t = batch
    gradient = log_likelihood_gradient(classifier, x_t, t)
    h = 1e-5
    for i in range(0, x_t[0].numel(), 13):
        shift = torch.zeros_like(x_t)
        shift.view(3, -1)[:, i] = h
        up, down = (log_p_target(classifier, x_t + s * shift, t) for s in (1, -1))
        expected = (up - down) / (2 * h)
        torch.testing.assert_close(gradient.view(3, -1)[:, i], expected, rtol=1e-4, atol=1e-9)


def test_gradient_of_a_logistic_classifier(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """With p = sigmoid(w x), the gradient of log p is (1 - p) w."""
    _, x_t, t = batch
    w = torch.linspace(-1, 1, 192, dtype=torch.float64).view(3, 8, 8)

    class Logistic(nn.Module):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            logit = (x_t * w).sum((1, 2, 3)) / 10
            return torch.stack([torch.zeros_like(logit), logit], dim=1)

    p = torch.sigmoid((x_t * w).sum((1, 2, 3)) / 10)
    expected = (1 - p).view(3, 1, 1, 1) * w / 10
    found = log_likelihood_gradient(Logistic(), x_t, t)
    torch.testing.assert_close(found, expected)


def test_a_step_along_the_gradient_raises_p_target(
    classifier: NoisyClassifier, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    _, x_t, t = batch
    gradient = log_likelihood_gradient(classifier, x_t, t)
    step = 0.1 * gradient / gradient.flatten(1).norm(dim=1).view(3, 1, 1, 1)
    before, after = (log_p_target(classifier, x, t) for x in (x_t, x_t + step))
    assert (after > before).all()


@pytest.mark.parametrize("sign", ["minus", "plus"])
@pytest.mark.parametrize("kind", ["paper", "code", "derived"])
def test_target_of_eq_8(
    sign: Literal["minus", "plus"],
    kind: Literal["paper", "code", "derived"],
    classifier: NoisyClassifier,
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    eps, x_t, t = batch
    config = GuidanceConfig(gamma=3.0, coefficient=kind, sign=sign)
    found = GuidedTarget(config, classifier)(as_step_at(x_t, eps, t))
    gradient = log_likelihood_gradient(classifier, x_t, t)
    for i in range(3):
        steps = [1 - beta for beta in PATH.betas[: t[i] + 1].tolist()]
        noise, before = 1 - math.prod(steps), 1 - math.prod(steps[:-1])
        sigma_hat = before * math.sqrt(steps[-1] / noise)
        scale = {"paper": sigma_hat**2, "code": noise, "derived": sigma_hat}[kind]
        shift = 3.0 * scale * gradient[i]
        expected = eps[i] - shift if sign == "minus" else eps[i] + shift
        torch.testing.assert_close(found[i], expected, rtol=1e-9, atol=1e-12)


def test_minus_moves_images_to_the_target_and_plus_away(
    classifier: NoisyClassifier, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    """A network that has learnt the guided eps denoises to images of a higher p(target)."""
    eps, x_t, t = batch

    def gain(sign: Literal["minus", "plus"]) -> Tensor:
        config = GuidanceConfig(gamma=0.1, sign=sign)
        guided = GuidedTarget(config, classifier)(as_step_at(x_t, eps, t))
        moved = PATH.to_x_0(guided, x_t, t) - PATH.to_x_0(eps, x_t, t)
        step = 0.01 * moved / moved.flatten(1).norm(dim=1).view(3, 1, 1, 1)
        return log_p_target(classifier, x_t + step, t) - log_p_target(classifier, x_t, t)

    assert (gain("minus") > 0).all()
    assert (gain("plus") < 0).all()


def test_no_guidance_leaves_the_noise(
    classifier: NoisyClassifier, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    config = GuidanceConfig(gamma=0.0)
    found = GuidedTarget(config, classifier)(as_step_at(batch[1], batch[0], batch[2]))
    torch.testing.assert_close(found, batch[0], rtol=0, atol=0)


def test_nothing_receives_a_gradient(
    classifier: NoisyClassifier, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    for grad_enabled in (True, False):
        with torch.set_grad_enabled(grad_enabled):
            found = GuidedTarget(GuidanceConfig(), classifier)(
                as_step_at(batch[1], batch[0], batch[2])
            )
        assert not found.requires_grad
        assert not torch.equal(found, batch[0])
    assert all(p.grad is None for p in classifier.parameters())
    assert not any(part.requires_grad for part in batch)
