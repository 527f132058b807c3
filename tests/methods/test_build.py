from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal

import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DModel
from torch import Tensor, nn

from antcli.config import AdaptConfig, AdaptorConfig, NoiseConfig, TrainingConfig
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.path import BetaPath
from antcli.methods.build import build_network, evaluations_per_step, noise_rule, target_rule
from antcli.methods.classifier import new_classifier
from antcli.methods.table import METHODS
from antcli.training.loop import Training

CONFIG = AdaptConfig("source", "target", training=TrainingConfig(steps=1, batch_size=2))
MakeUnet = Callable[..., UNet2DModel]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gradient", ["full", "residual"])
def test_a_step_costs_what_is_said(
    method: str,
    gradient: Literal["full", "residual"],
    make_unet: MakeUnet,
    accelerator: Accelerator,
) -> None:
    config = replace(
        CONFIG, method=method, noise=NoiseConfig(inner_steps=3, omega=0.01, gradient=gradient)
    )
    path = BetaPath.linear()
    network, classifier = (
        build_network(make_unet(size=8), config, PLAIN),
        new_classifier(8, seed=0),
    )
    classifier.requires_grad_(False)
    counted = dict.fromkeys(evaluations_per_step(config), 0)

    def count(name: str, module: nn.Module) -> None:
        def forward(*_: object) -> None:
            counted[f"{name} forward"] += 1

        def backward(*_: object) -> None:
            counted[f"{name} backward"] += 1

        module.register_forward_hook(forward)
        module.register_full_backward_pre_hook(backward)

    training = Training(
        network,
        torch.zeros(2, 3, 8, 8),
        config.training,
        accelerator,
        noise=noise_rule(config, path),
        target=target_rule(config, path, classifier),
    )
    count("denoiser", network)
    count("classifier", classifier)
    list(training.steps())
    assert counted == evaluations_per_step(config)


def test_what_trains(make_unet: MakeUnet) -> None:
    every = build_network(make_unet(), replace(CONFIG, method="full"), PLAIN)
    assert every.trained().keys() == {f"unet.{n}" for n, _ in make_unet().named_parameters()}
    wide = replace(CONFIG, adaptor=AdaptorConfig(width=16))
    adapted = build_network(make_unet(), wide, PLAIN)
    assert adapted.trained().keys() == {
        name for name, _ in adapted.named_parameters() if name.startswith("adaptors.")
    }
    assert adapted.trained()["adaptors.conv_out.down.weight"].shape[0] == 16


def test_adaptors_start_from_the_seed_alone(make_unet: MakeUnet) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        build_network(make_unet(), replace(CONFIG, seed=seed), PLAIN).trained()
        for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    name = "adaptors.conv_out.down.weight"
    assert not torch.equal(first[name], other[name])
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_parts_follow_the_table(method: str) -> None:
    config, path = replace(CONFIG, method=method), BetaPath.linear()
    adversarial = METHODS[method].noise == "adversarial"
    guided = METHODS[method].target == "guided"
    assert (noise_rule(config, path) is not None) == adversarial
    classifier = new_classifier(8, seed=0) if guided else None
    assert (target_rule(config, path, classifier) is not None) == guided


def test_with_low_memory_the_classifier_comes_only_to_be_asked() -> None:
    class Watched(nn.Module):
        places: ClassVar[list[str]] = []

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            self.places.append("asked")
            return x_t.mean((2, 3))[:, :2]

        def to(self, device: torch.device) -> "Watched":
            self.places.append(f"to {device}")
            return self

    classifier, path = Watched(), BetaPath.linear()
    x_t, t = torch.randn(2, 3, 8, 8), torch.tensor([1, 500])
    low, plain = (
        target_rule(
            replace(CONFIG, training=replace(CONFIG.training, low_memory=low)), path, classifier
        )
        for low in (True, False)
    )
    assert low is not None and plain is not None
    found = low(x_t, x_t, t)
    assert classifier.places == ["to cpu", "asked", "to cpu"]
    torch.testing.assert_close(found, plain(x_t, x_t, t))


def test_settings_reach_the_parts() -> None:
    path = BetaPath.linear()
    config = replace(CONFIG, noise=NoiseConfig(inner_steps=1, omega=0.5))
    rule = noise_rule(config, path)
    assert rule is not None
    eps = torch.randn(2, 3, 4, 4)
    x_0, t = torch.zeros_like(eps), torch.tensor([1, 2])
    # With eps_theta = 0, a step multiplies eps by 2, which Norm undoes.
    found = rule(eps, x_0, t, lambda x_t, t: torch.zeros_like(x_t))
    axes = (1, 2, 3)
    expected = (eps - eps.mean(axes, keepdim=True)) / eps.std(axes, keepdim=True, correction=0)
    torch.testing.assert_close(found, expected)
    # With eps_theta = -1, it is 2 eps + 1, and Norm undoes that too; with -x_t it does not.
    found = rule(eps, x_0, torch.tensor([999, 999]), lambda x_t, t: x_t.roll(1, -1))
    assert (found - expected).abs().max() > 0.1
