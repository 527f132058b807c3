"""The two rules of `bridge`, and the whole of them on a small network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DModel
from method_steps import as_step
from torch import Tensor

from antcli.config import adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.examples import Latents
from antcli.methods.build import build_network, build_objective
from antcli.methods.choice import Rule, Step
from antcli.methods.counterparts import Counterparts
from antcli.methods.noise.bridged import BridgedNoise
from antcli.methods.target.counterpart import CounterpartTarget, coefficient
from antcli.methods.transplants import Transplants

PATH, LIMIT, DRAWS = PLAIN.path, 500, 2
T = torch.tensor([LIMIT - 1, 300, 40])
ALPHA_BAR = torch.cumprod(1 - PATH.betas, 0).tolist()


def drawn(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (3, 3, 8, 8)), generator=draw, dtype=torch.float64)


def wrong_source(x_t: Tensor, t: Tensor) -> Tensor:
    """Some smooth function of x_t and t."""
    return 0.7 * x_t + 0.2 * torch.sin(3 * x_t.flip(-1)) * torch.cos(t / 300).view(-1, 1, 1, 1)


KAPPA = (ALPHA_BAR[LIMIT - 1] / (1 - ALPHA_BAR[LIMIT - 1])) ** 0.5
PAIRS = Counterparts(Latents(drawn(2, 6, 3, 8, 8)), DRAWS, LIMIT / PATH.span, KAPPA)


def a_step(u: float | None = None, *, same: bool = False) -> Step:
    """With some counterpart of each image; or with the image as its counterpart."""
    step = as_step(drawn(0), drawn(1), T, source=wrong_source)
    step = replace(step, pair=step.x_0 if same else drawn(2))
    if u is None:
        return step
    return replace(step, chance=torch.full((3, 3), u**2))


# --- noise ---------------------------------------------------------------------------------


def test_at_the_limit_x_t_is_the_noised_counterpart() -> None:
    step = a_step(u=1.0)
    bridged = replace(step, eps=BridgedNoise(KAPPA)(step), before=step.eps)
    noised = PATH.add_noise(step.counterpart, step.eps, T)
    torch.testing.assert_close(bridged.x_t[0], noised[0], rtol=1e-9, atol=1e-12)
    # Further down it is on the way to the image.
    kept = [(bridged.x_t[i] - noised[i]).abs().mean().item() for i in range(3)]
    assert kept[0] < kept[1] < kept[2]


def test_x_t_against_a_slow_loop() -> None:
    """x_t = alpha x_0 + sigma eps + u kappa sigma (x'_0 - x_0), u the root of a uniform."""
    step = a_step()
    bridged = replace(step, eps=BridgedNoise(KAPPA)(step), before=step.eps)
    for i, t in enumerate(T.tolist()):
        x_0, other = step.x_0[i], step.counterpart[i]
        alpha, sigma = ALPHA_BAR[t] ** 0.5, (1 - ALPHA_BAR[t]) ** 0.5
        u, kappa = float(step.chance[i, 1]) ** 0.5, KAPPA
        expected = alpha * x_0 + sigma * step.eps[i] + u * kappa * sigma * (other - x_0)
        # u is a float32.
        torch.testing.assert_close(bridged.x_t[i], expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(PATH.to_x_0(bridged.eps, bridged.x_t, T), step.x_0)
    torch.testing.assert_close(bridged.drawn, step.eps, rtol=0, atol=0)


def test_a_counterpart_that_is_the_image_leaves_the_noise() -> None:
    step = a_step(same=True)
    torch.testing.assert_close(BridgedNoise(KAPPA)(step), step.eps, rtol=0, atol=0)


# --- target --------------------------------------------------------------------------------


def test_for_a_counterpart_that_is_the_image_the_target_is_what_the_source_says() -> None:
    step = a_step(same=True)
    found = CounterpartTarget()(step)
    expected = step.source(step.x_t, T)
    # The source is read in float32.
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-5)
    assert (found - step.eps).abs().max() > 0.1


def test_the_target_on_bridged_noise_against_a_slow_loop() -> None:
    """What the source gets wrong is asked with the noise as it was drawn, image by image."""
    step = a_step()
    bridged = replace(step, eps=BridgedNoise(KAPPA)(step), before=step.eps)
    found = CounterpartTarget()(bridged)
    for i, t in enumerate(T.tolist()):
        alpha, sigma = ALPHA_BAR[t] ** 0.5, (1 - ALPHA_BAR[t]) ** 0.5
        eps = step.eps[i]
        own, wrong = (
            eps - wrong_source((alpha * x_0 + sigma * eps)[None], T[i : i + 1])[0]
            for x_0 in (step.x_0[i], step.counterpart[i])
        )
        beta = min(max(float((own * wrong).sum() / (wrong * wrong).sum()), 0.0), 1.0)
        expected = bridged.eps[i] - beta * wrong
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-5)


def test_where_places_are_known_to_be_kept_all_is_taken_off_there() -> None:
    step = a_step()
    kept = torch.rand(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    bridged = replace(step, eps=BridgedNoise(KAPPA)(step), before=step.eps, kept=kept)
    found = CounterpartTarget()(bridged)
    for i, t in enumerate(T.tolist()):
        alpha, sigma = ALPHA_BAR[t] ** 0.5, (1 - ALPHA_BAR[t]) ** 0.5
        x_t = alpha * step.counterpart[i] + sigma * step.eps[i]
        wrong = step.eps[i] - wrong_source(x_t[None], T[i : i + 1])[0]
        expected = bridged.eps[i] - kept[i] * wrong
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-5)


def test_the_coefficient_is_that_of_least_squares() -> None:
    own, other = drawn(3), drawn(4)
    own = own + torch.tensor([0.6, -0.4, 3.0]).view(-1, 1, 1, 1).double() * other
    betas = torch.linspace(0, 1, 2001, dtype=torch.float64)
    for i, found in enumerate(coefficient(own, other).flatten().tolist()):
        left = [float((own[i] - beta * other[i]).square().sum()) for beta in betas]
        assert found == pytest.approx(float(betas[left.index(min(left))]), abs=1 / 2000)


def test_the_coefficient_of_what_says_nothing_goes_to_nothing() -> None:
    for size in (8, 32, 128):
        own, other = drawn(5, 4, 3, size, size), drawn(6, 4, 3, size, size)
        assert coefficient(own, other).max() < 4 / (3 * size * size) ** 0.5
    own, other = drawn(5), drawn(6)
    apart = (
        other
        - (own * other).sum((1, 2, 3), keepdim=True)
        / own.square().sum((1, 2, 3), keepdim=True)
        * own
    )
    assert coefficient(own, apart).abs().max() < 1e-12
    assert (coefficient(own, -own) == 0).all()
    assert (coefficient(own, torch.zeros_like(own)) == 0).all()


# --- what an error counts -------------------------------------------------------------------


def transplants(*, everywhere: bool = True, latent: bool = False) -> Transplants:
    hosts, worn = (Latents(drawn(seed, 6, 3, 8, 8).float()) for seed in (3, 4))
    fitting = torch.zeros(3, 2, dtype=torch.long)
    fitting[0] = 0 if everywhere else -1
    return Transplants(hosts, torch.ones(3, 1, 8, 8), fitting, 100, worn if latent else None)


def rule_of(transplants: Transplants | None) -> Rule:
    config = adapt_config_from({"source": "a", "target": "b", "method": "bridge"})
    rule = build_objective(config, {"counterparts": replace(PAIRS, transplants=transplants)}).target
    assert rule is not None
    return rule


def test_where_all_are_put_on_others_an_error_counts_as_sigma_over_alpha() -> None:
    found = rule_of(transplants()).weight(a_step())
    assert isinstance(found, Tensor) and found.shape == (3, 1, 1, 1)
    for weight, t in zip(found.flatten().tolist(), T.tolist(), strict=True):
        assert weight == pytest.approx(((1 - ALPHA_BAR[t]) / ALPHA_BAR[t]) ** 0.5, rel=1e-9)


@pytest.mark.parametrize(
    "put",
    [None, transplants(everywhere=False), transplants(latent=True)],
    ids=["none", "some", "latents"],
)
def test_elsewhere_all_errors_count_alike(put: Transplants | None) -> None:
    assert rule_of(put).weight(a_step()) == 1


# --- the whole method ----------------------------------------------------------------------


@pytest.mark.parametrize("put_on", [False, True], ids=["all", "places"])
@pytest.mark.parametrize("trains", ["lora", "ant", "full"])
def test_nothing_but_the_loss_has_a_gradient(
    trains: str, put_on: bool, make_unet: Callable[..., UNet2DModel]
) -> None:
    """Whatever trains: of low-rank additions, adaptors and all weights."""
    config = adapt_config_from({"source": "a", "target": "b", "method": "bridge"})
    kept = Latents(PAIRS.examples.x_0.float())
    pairs = replace(PAIRS, examples=kept, transplants=transplants() if put_on else None)
    objective = build_objective(config, {"counterparts": pairs})
    other = adapt_config_from({"source": "a", "target": "b", "method": trains})
    network = build_network(make_unet(8), other, PLAIN, PAIRS.t_limit)
    network.keep_source()
    assert network.limit == LIMIT
    source, drawn_step = make_unet(8), a_step()
    step = replace(
        drawn_step,
        network=network,
        predict=network,
        x_0=drawn_step.x_0.float(),
        eps=drawn_step.eps.float(),
        pair=drawn_step.counterpart.float(),
        kept=torch.full((3, 1, 8, 8), 0.5) if put_on else None,
    )
    step, target = objective.prepared(step)
    assert not step.eps.requires_grad and not target.requires_grad
    assert all(p.grad is None for p in network.parameters())
    loss = objective.loss(step, target)
    with torch.no_grad():
        errors = (network(step.x_t, T) - target).square().mean((1, 2, 3)).tolist()
    ratios = [((1 - ALPHA_BAR[t]) / ALPHA_BAR[t]) ** 0.5 if put_on else 1.0 for t in T.tolist()]
    counted = [ratio * error for ratio, error in zip(ratios, errors, strict=True)]
    assert loss.item() == pytest.approx(sum(counted) / 3, rel=1e-5)
    loss.backward()
    trained = network.trained()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in trained.values())
    untrained = [p for name, p in network.named_parameters() if name not in trained]
    assert all(p.grad is None for p in untrained)
    # What the source says is the source's, after whatever training.
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(0.1)
        expected = source(step.x_t, T).sample
    torch.testing.assert_close(step.source(step.x_t, T), expected)
