from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DModel
from method_steps import as_step
from torch import Tensor, nn

from antcli.config import AdaptConfig, TrainingConfig, adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.examples import Pixels
from antcli.methods.build import build_network, build_objective, evaluations_per_step, stages_of
from antcli.methods.classifier import new_classifier
from antcli.methods.counterparts import Counterparts
from antcli.methods.noise.adversarial import AdversarialNoise, NoiseConfig
from antcli.methods.noise.bridged import BridgedNoise
from antcli.methods.table import METHODS
from antcli.methods.target.counterpart import CounterpartTarget
from antcli.methods.target.guided import GuidedTarget
from antcli.methods.target.score import ScoreTarget
from antcli.methods.trainable.adaptors import AdaptorConfig
from antcli.training.loop import Training

CONFIG = AdaptConfig(
    "source", "target", method="ant", training=TrainingConfig(steps=1, batch_size=2)
)
PAIRS = Counterparts(Pixels(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)), 2, 0.5, 0.3)
MakeUnet = Callable[..., UNet2DModel]


def named(method: str, **settings: Any) -> AdaptConfig:
    """The settings of a method that is called by its name."""
    return adapt_config_from({"source": "source", "target": "target", "method": method}, settings)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gradient", ["full", "residual"])
def test_a_step_costs_what_is_said(
    method: str,
    gradient: Literal["full", "residual"],
    make_unet: MakeUnet,
    accelerator: Accelerator,
) -> None:
    config = named(
        method,
        noise={"inner_steps": 3, "omega": 0.01, "gradient": gradient},
        score={"start": 0},
        training={"steps": 1, "batch_size": 2},
    )
    network, classifier = (
        build_network(make_unet(size=8), config, PLAIN),
        new_classifier(8, seed=0),
    )
    classifier.requires_grad_(False)
    images = Pixels(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    prepared = {
        "classifier": classifier,
        "counterparts": PAIRS,
        "source_examples": images,
        "fisher": {name: torch.ones_like(p) for name, p in network.trained().items()},
    }
    counted = Counter[str]()

    def count(name: str, module: nn.Module) -> None:
        def forward(*_: object) -> None:
            counted[f"{name} forward"] += 1

        def backward(*_: object) -> None:
            counted[f"{name} backward"] += 1

        module.register_forward_hook(forward)
        module.register_full_backward_pre_hook(backward)

    training = Training(
        network,
        images,
        config.training,
        accelerator,
        objective=build_objective(config, prepared),
    )
    network.keep_source()
    ask_source = network.source

    def source(x_t: Tensor, t: Tensor) -> Tensor:
        counted["source forward"] += len(x_t) // 2  # for each image, however many come at once
        return ask_source(x_t, t)

    object.__setattr__(network, "source", source)
    count("denoiser", network)
    count("classifier", classifier)
    list(training.steps())
    assert +counted == +Counter(evaluations_per_step(config))


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
    config = named(method)
    prepared = {**dict.fromkeys(stages_of(config), nn.Identity()), "counterparts": PAIRS}
    objective = build_objective(config, prepared)
    noises = {"adversarial": AdversarialNoise, "bridged": BridgedNoise}
    targets = {
        "guided": GuidedTarget,
        "score": ScoreTarget,
        "counterpart": CounterpartTarget,
    }
    for found, kinds, name in (
        (objective.noise, noises, METHODS[method].noise),
        (objective.target, targets, METHODS[method].target),
    ):
        assert type(found) is kinds.get(name, type(None))
    weights = [weight for weight, _ in objective.penalties]
    assert sorted(weights) == sorted(METHODS[method].penalties.values())


@pytest.mark.parametrize("low", [True, False])
def test_with_low_memory_the_classifier_comes_once_a_step(
    low: bool, make_unet: MakeUnet, accelerator: Accelerator
) -> None:
    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places: list[str] = []

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            self.places.append("asked")
            return x_t.mean((2, 3))[:, :2]

        def to(self, device: torch.device) -> "Watched":
            self.places.append(f"to {device}")
            return self

    training = replace(CONFIG.training, batch_size=3, low_memory=low)
    config = replace(CONFIG, training=training)
    classifier = Watched()
    objective = build_objective(config, {"classifier": classifier})
    network = build_network(make_unet(size=8), config, PLAIN)
    images = Pixels(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    list(Training(network, images, config.training, accelerator, objective=objective).steps())
    visit = ["to cpu", "asked", "asked", "asked", "to cpu"]
    assert classifier.places == (visit if low else ["asked"])


def test_settings_reach_the_parts() -> None:
    config = replace(CONFIG, noise=NoiseConfig(inner_steps=1, omega=0.5))
    rule = build_objective(config, {"classifier": nn.Identity()}).noise
    assert rule is not None
    eps = torch.randn(2, 3, 4, 4)
    x_0, t = torch.zeros_like(eps), torch.tensor([1, 2])
    # With eps_theta = 0, a step multiplies eps by 2, which Norm undoes.
    found = rule(as_step(x_0, eps, t, lambda x_t, t: torch.zeros_like(x_t)))
    axes = (1, 2, 3)
    expected = (eps - eps.mean(axes, keepdim=True)) / eps.std(axes, keepdim=True, correction=0)
    torch.testing.assert_close(found, expected)
    # With -x_t, Norm does not undo it.
    step = as_step(x_0, eps, torch.tensor([999, 999]), lambda x_t, t: x_t.roll(1, -1))
    assert (rule(step) - expected).abs().max() > 0.1


@pytest.mark.parametrize("method", ["ant", "bridge", "full"])
def test_a_limit_that_was_read_off_the_images_stands_for_that_of_the_settings(
    method: str, make_unet: MakeUnet
) -> None:
    config = replace(CONFIG, method=method)
    told = build_network(make_unet(), config, PLAIN, 0.35)
    assert (told.t_limit, told.limit) == (0.35, 350)
    settings = {"ant": config.adaptor, "bridge": config.lora, "full": config.full}[method]
    assert build_network(make_unet(), config, PLAIN).t_limit == settings.t_limit


def test_the_bridge_needs_counterparts_and_no_classifier() -> None:
    config = named("bridge")
    assert stages_of(config) == ("counterparts",)
    target = build_objective(config, {"counterparts": PAIRS}).target
    assert isinstance(target, CounterpartTarget)
    assert target.module is None
    # What trains, and the source about the image and about its counterpart.
    assert evaluations_per_step(config)["source forward"] == 2
