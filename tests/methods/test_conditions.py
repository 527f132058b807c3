"""Conditions in a network: an embedding beside that of t, and what the source makes of classes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DModel
from torch import Tensor

from antcli.config import AdaptConfig, adapt_config_from, label
from antcli.diffusion.convention import PLAIN, Convention
from antcli.diffusion.examples import Pixels
from antcli.errors import AntError
from antcli.methods.build import build_network, build_objective, check_encoder
from antcli.methods.trainable.denoiser import Denoiser
from antcli.training.loop import Training

MakeUnet = Callable[..., UNet2DModel]
SIDE = 8
TRAINS = ("all", "lora", "adaptors", "modulation", "bias", "encoder-decoder")
TABLES = {"all": "full", "adaptors": "adaptor", "encoder-decoder": "encoder_decoder"}
LABELS = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
T = torch.tensor([100, 900])
CLASSES = Convention(PLAIN.path, condition={"class_labels": torch.tensor([1])})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_noise(count: int = 2, side: int = 16) -> Tensor:
    return torch.randn(count, 3, side, side, generator=seeded(1))


def config_of(trains: str, condition: str = "", **settings: Any) -> AdaptConfig:
    choices = {"trains": trains, "condition": condition}
    return adapt_config_from({"source": "a", "target": "b", "choices": choices}, settings)


def moved(network: Denoiser) -> Denoiser:
    """With random changes of all that trains."""
    with torch.no_grad():
        for parameter in network.trained().values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(2)))
    return network


@pytest.mark.parametrize("limit", [1.0, 0.6])
@pytest.mark.parametrize("trains", TRAINS)
def test_untrained_it_is_its_source_and_trained_it_tells_conditions_apart(
    trains: str, limit: float, make_unet: MakeUnet
) -> None:
    config = config_of(trains, **{TABLES.get(trains, trains): {"t_limit": limit}})
    x_t = some_noise()
    network = build_network(make_unet(), config, PLAIN, conditions=2)
    network.keep_source()
    with torch.no_grad():
        source = make_unet()(x_t, T).sample
        torch.testing.assert_close(network.guided(x_t, T, LABELS), source, rtol=0, atol=0)
        network.trained()["conditions.linear.weight"].normal_(generator=seeded())
        told = network.guided(x_t, T, LABELS)
        other = network.guided(x_t, T, LABELS.flip(0))
        with network.told(condition=LABELS):
            torch.testing.assert_close(network.source(x_t, T), source, rtol=0, atol=0)
        torch.testing.assert_close(network(x_t, T), source, rtol=0, atol=0)
    assert (told - other)[0].abs().max() > 1e-3
    # Above the limit the source speaks, whatever is asked for.
    assert torch.equal(told[1], source[1]) == (limit < 1)


@torch.no_grad()
def test_what_is_added_is_the_mixture_of_the_embeddings(make_unet: MakeUnet) -> None:
    network = moved(build_network(make_unet(), config_of("all"), PLAIN, conditions=2))
    slow = make_unet()
    slow.load_state_dict(network.unet.state_dict())
    weight, x_t = network.trained()["conditions.linear.weight"], some_noise()
    for name, parameter in network.trained().items():
        if name.startswith("own."):
            parameter.zero_()
    found = network.guided(x_t, T, LABELS)
    for i, (a, b) in enumerate(LABELS.tolist()):
        emb = (
            slow.time_embedding(slow.time_proj(T[i : i + 1])) + a * weight[:, 0] + b * weight[:, 1]
        )
        handle = slow.time_embedding.register_forward_hook(lambda *_, emb=emb: emb)
        expected = slow(x_t[i : i + 1], T[i : i + 1]).sample
        handle.remove()
        torch.testing.assert_close(found[i : i + 1], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_low_rank_additions_have_a_b_for_each_condition(make_unet: MakeUnet) -> None:
    """As many networks with additions of their own, mixed."""
    network = moved(build_network(make_unet(), config_of("lora"), PLAIN, conditions=2))
    x_t, weight = some_noise(), network.trained()["conditions.linear.weight"]
    weight.zero_()
    found = network.guided(x_t, T, LABELS)
    for i, y in enumerate(LABELS):
        alone = build_network(make_unet(), config_of("lora"), PLAIN)
        for name, parameter in alone.trained().items():
            own = network.trained()[name]
            if name.endswith(".1.weight"):
                first, second = own.chunk(2, 1)
                own = y[0] * first + y[1] * second
            parameter.copy_(own)
        expected = alone(x_t[i : i + 1], T[i : i + 1])
        torch.testing.assert_close(found[i : i + 1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trains", ["all", "lora", "modulation", "encoder-decoder"])
def test_it_merges_to_a_network_of_one_condition(trains: str, make_unet: MakeUnet) -> None:
    network = moved(build_network(make_unet(), config_of(trains), PLAIN, conditions=2))
    merged, x_t = network.merged(LABELS[1]), some_noise(1)
    assert merged is not None
    assert merged.state_dict().keys() == make_unet().state_dict().keys()
    with torch.no_grad():
        expected = network.guided(x_t, T[:1], LABELS[1:])
        torch.testing.assert_close(merged(x_t, T[:1]).sample, expected, rtol=1e-4, atol=1e-5)
        assert (network(x_t, T[:1]) - expected).abs().max() > 1e-3


# --- what the source makes of its classes ----------------------------------------------------


def of_classes(make_unet: MakeUnet, trains: str, condition: str, **settings: Any) -> Denoiser:
    unet = make_unet(num_class_embeds=3)
    return build_network(unet, config_of(trains, condition, **settings), CLASSES, conditions=2)


@pytest.mark.parametrize("trains", TRAINS)
def test_the_classes_of_a_source_are_frozen_unless_they_are_to_train(
    trains: str, make_unet: MakeUnet
) -> None:
    frozen = of_classes(make_unet, trains, "frozen").trained()
    tuned = of_classes(make_unet, trains, "tuned").trained()
    assert tuned.keys() - frozen.keys() == {"encoder.own.weight"}
    assert "conditions.linear.weight" in frozen
    assert not [name for name in frozen if "class_embedding" in name]


@torch.no_grad()
@pytest.mark.parametrize("limit", [1.0, 0.6])
@pytest.mark.parametrize("trains", ["all", "lora", "adaptors"])
def test_tuned_classes_begin_as_the_source_and_leave_it_alone(
    trains: str, limit: float, make_unet: MakeUnet
) -> None:
    table = {TABLES.get(trains, trains): {"t_limit": limit}}
    network, x_t = of_classes(make_unet, trains, "tuned", **table), some_noise()
    network.keep_source()
    source = make_unet(num_class_embeds=3)(x_t, T, torch.tensor([1, 1])).sample
    torch.testing.assert_close(network(x_t, T), source, rtol=0, atol=0)
    network.trained()["encoder.own.weight"][1] += 1.0
    found = network(x_t, T)
    assert (found - source)[0].abs().max() > 1e-3
    assert torch.equal(found[1], source[1]) == (limit < 1)
    torch.testing.assert_close(network.source(x_t, T), source, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("trains", ["all", "lora"])
def test_tuned_classes_are_merged(trains: str, make_unet: MakeUnet) -> None:
    network = moved(of_classes(make_unet, trains, "tuned"))
    merged, x_t = network.merged(LABELS[0]), some_noise(1)
    assert merged is not None
    found = merged(x_t, T[:1], torch.tensor([1])).sample
    torch.testing.assert_close(found, network.guided(x_t, T[:1], LABELS[:1]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [0, 2])
def test_settled_it_knows_classes_and_conditions_as_before(size: int, make_unet: MakeUnet) -> None:
    unet, x_t = make_unet(num_class_embeds=3), some_noise()
    network = moved(build_network(unet, config_of("lora", "tuned"), CLASSES, conditions=size))
    asked = LABELS if size else None
    expected, plain = network.guided(x_t, T, asked), network.source(x_t, T)
    with network.settled():
        found = network.guided(x_t, T, asked)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - plain).abs().max() > 1e-3


def test_where_there_are_no_classes_none_can_train() -> None:
    check_encoder(config_of("all", "tuned"), encodes=True)
    check_encoder(config_of("all"), encodes=False)
    with pytest.raises(AntError, match="nothing of a class or of columns") as raised:
        check_encoder(config_of("all", "tuned"), encodes=False)
    assert raised.value.exit_code == 2
    assert label(config_of("all", "tuned")).endswith("-tuned")


# --- training --------------------------------------------------------------------------------


def training_of(
    make_unet: MakeUnet, accelerator: Accelerator, method: str = "finetune-ada", **less: Any
) -> Training:
    names = {"source": "a", "target": "b", "method": method}
    config = adapt_config_from(names, {"training": {"steps": 3, "batch_size": 4, **less}})
    draw = seeded()
    pixels = torch.randint(256, (3, 3, SIDE, SIDE), dtype=torch.uint8, generator=draw)
    network = build_network(make_unet(SIDE, (8, 16)), config, PLAIN, conditions=2)
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    rules = build_objective(config, {})
    return Training(
        network,
        Pixels(pixels),
        config.training,
        accelerator,
        objective=rules,
        conditions=labels,
    )


def test_each_image_comes_with_its_condition(make_unet: MakeUnet, accelerator: Accelerator) -> None:
    training = training_of(make_unet, accelerator)
    (step,) = training._draw()
    assert step.condition is not None
    assert training.conditions is not None
    torch.testing.assert_close(step.condition, training.conditions[step.images], rtol=0, atol=0)
    for _ in training.steps():
        pass
    embedding = training.parameters["conditions.linear.weight"]
    assert embedding.abs().max(0).values.min() > 1e-5
    assert (embedding[:, 0] - embedding[:, 1]).abs().max() > 1e-5


@pytest.mark.parametrize("method", ["finetune-ada", "lora", "adaptor"])
@pytest.mark.parametrize("less", [{"micro_batch": 3}, {"low_memory": True}])
def test_less_memory_gives_the_same_result(
    method: str, less: dict[str, Any], make_unet: MakeUnet, accelerator: Accelerator
) -> None:
    """Maps that are computed again, for a gradient, are of the same conditions."""
    whole, parts = (training_of(make_unet, accelerator, method, **more) for more in ({}, less))
    for one, other in zip(whole.steps(), parts.steps(), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)


@pytest.mark.parametrize("processes", [2, 3])
def test_a_condition_is_drawn_by_its_place_in_the_global_batch(
    processes: int, make_unet: MakeUnet, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_of(make_unet, accelerator)
    (whole,) = training._draw()
    monkeypatch.setattr(type(accelerator), "num_processes", processes)
    for index in range(processes):
        monkeypatch.setattr(type(accelerator), "process_index", index)
        (own,) = training._draw()
        assert own.condition is not None
        assert whole.condition is not None
        torch.testing.assert_close(own.condition, whole.condition[index::processes])
