"""Augmentation by a label, against slow versions in float64; and what the network makes of it."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DModel
from torch import Tensor

from antcli.config import AdaptConfig, TrainingConfig, adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.examples import Pixels
from antcli.errors import AntError
from antcli.methods.augmentation.ada import Ada, AugmentationSettings
from antcli.methods.build import build_network, build_objective, check_pixels
from antcli.methods.counterparts import Counterparts
from antcli.training.loop import Training

MakeUnet = Callable[..., UNet2DModel]
ALWAYS, NEVER = (Ada(AugmentationSettings(geometry=p, colour=p)) for p in (1.0, 0.0))
SIDE = 8
TRAINS = ("all", "lora", "adaptors", "modulation", "bias")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(count: int, side: int = SIDE) -> Tensor:
    return 2 * torch.rand(count, 3, side, side, generator=seeded(1)) - 1


def label_of(**parts: float | tuple[float, float]) -> Tensor:
    """One label, zero in all that is not named."""
    places = {"flip": 0, "octaves": 1, "turn": 2, "stretch": 4, "shift": 6}
    places |= {"brightness": 8, "contrast": 9, "inverted": 10, "hue": 11, "saturation": 13}
    label = torch.zeros(1, 14)
    for name, value in parts.items():
        values = torch.tensor(value).flatten()
        label[0, places[name] : places[name] + len(values)] = values
    return label


def turn(degrees: float) -> tuple[float, float]:
    angle = math.radians(degrees)
    return math.cos(angle) - 1, math.sin(angle)


def changed(image: Tensor, **parts: Any) -> Tensor:
    return ALWAYS.change(image, label_of(**parts))


# --- images ----------------------------------------------------------------------------------


def slow_geometry(image: Tensor, label: list[float]) -> Tensor:
    """Pixel by pixel: where it comes from, and what lies around there; mirrored at the edges."""
    flip, octaves, cos, sin, along, across, right, down = label[:8]
    rotation = torch.tensor([[1 + cos, -sin], [sin, 1 + cos]], dtype=torch.float64)
    log = 0.2 * math.log(2) * torch.tensor([[along, across], [across, -along]]).double()
    flipping = torch.diag(torch.tensor([1.0, 1 - 2 * flip], dtype=torch.float64))
    matrix = 2 ** (0.2 * octaves) * rotation @ torch.linalg.matrix_exp(log) @ flipping
    side, centre = image.shape[-1], (image.shape[-1] - 1) / 2
    shift = 0.125 * side * torch.tensor([right, down], dtype=torch.float64)

    def pixel(x: int, y: int) -> Tensor:
        x, y = (c % (2 * side) for c in (x, y))
        return image[:, min(y, 2 * side - 1 - y), min(x, 2 * side - 1 - x)].double()

    found = torch.empty_like(image, dtype=torch.float64)
    for row in range(side):
        for column in range(side):
            here = torch.tensor([column - centre, row - centre], dtype=torch.float64)
            x, y = (torch.linalg.solve(matrix, here - shift) + centre).tolist()
            left, top = math.floor(x), math.floor(y)
            right_part, low_part = x - left, y - top
            found[:, row, column] = sum(
                a * b * pixel(left + i, top + j)
                for i, a in ((0, 1 - right_part), (1, right_part))
                for j, b in ((0, 1 - low_part), (1, low_part))
            )
    return found


def slow_colours(image: Tensor, label: list[float]) -> Tensor:
    """Matrices on colours, one after the other (Karras et al. 2020, appendix B)."""
    brightness, contrast, inverted, cos, sin, saturation = label[8:]
    axis = torch.full((3,), 1 / math.sqrt(3), dtype=torch.float64)
    onto, eye = axis.outer(axis), torch.eye(3, dtype=torch.float64)
    cross = torch.linalg.cross(axis.expand(3, 3), eye, dim=1).T
    hue = onto + (1 + cos) * (eye - onto) + sin * cross
    c = image.double().flatten(1) + 0.2 * brightness
    c = 2 ** (0.5 * contrast) * c
    c = (eye - 2 * inverted * onto) @ c
    c = hue @ c
    c = (onto + 2**saturation * (eye - onto)) @ c
    return c.view_as(image)


def test_images_are_changed_as_their_labels_say() -> None:
    labels, images = ALWAYS.draw(6, seeded(3)), some_images(6)
    assert (labels != 0).float().mean() > 0.8
    for found, image, label in zip(ALWAYS.change(images, labels), images, labels, strict=True):
        expected = slow_colours(slow_geometry(image, label.tolist()), label.tolist())
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
        assert (found - image).abs().max() > 0.1


def test_what_the_parameters_are_called_after() -> None:
    image = some_images(1)
    near = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(changed(image, flip=1.0), image.flip(2), **near)
    half = changed(image, turn=turn(180))
    torch.testing.assert_close(half, image.flip(2, 3), **near)
    quarter = changed(image, turn=turn(90))
    torch.testing.assert_close(quarter, image.rot90(-1, (2, 3)), **near)
    shifted = changed(image, shift=(1.0, 0.0))  # an eighth of eight pixels
    torch.testing.assert_close(shifted[..., 1:], image[..., :-1], **near)
    brighter = changed(image, brightness=1.0)
    torch.testing.assert_close(brighter, image + 0.2, **near)
    torch.testing.assert_close(changed(image, contrast=-2.0), image / 2, **near)
    grey = changed(image, saturation=-30.0)
    torch.testing.assert_close(grey, image.mean(1, keepdim=True).expand_as(image), **near)
    third = changed(image, hue=turn(120))
    torch.testing.assert_close(third, image.roll(1, 1), **near)


def test_without_a_label_an_image_is_what_it_was() -> None:
    images, labels = some_images(3), ALWAYS.draw(3, seeded())
    labels[1] = 0
    found = ALWAYS.change(images, labels)
    torch.testing.assert_close(found[1], images[1], rtol=0, atol=0)
    assert not NEVER.draw(50, seeded()).any()


def test_half_precision_around_it_changes_nothing() -> None:
    images, labels = some_images(3), ALWAYS.draw(3, seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ALWAYS.change(images, labels)
    torch.testing.assert_close(found, ALWAYS.change(images, labels), rtol=0, atol=0)


def test_each_change_comes_as_often_as_is_said() -> None:
    labels = Ada(AugmentationSettings(geometry=0.5, colour=0.1)).draw(4000, seeded())
    often = (labels != 0).float().mean(0)
    # Upside down, and inverted grey, are told from not by a coin.
    shares = torch.tensor([0.25, *[0.5] * 7, 0.1, 0.1, 0.05, 0.1, 0.1, 0.1])
    deviation = (shares * (1 - shares) / len(labels)).sqrt()
    assert ((often - shares).abs() < 4 * deviation).all()
    assert not torch.equal(labels[:, 1] != 0, labels[:, 2] != 0)


# --- the network -----------------------------------------------------------------------------


def config_of(trains: str, **settings: Any) -> AdaptConfig:
    names = {"source": "a", "target": "b", "choices": {"trains": trains, "augmentation": "ada"}}
    return adapt_config_from(names, settings)


@pytest.mark.parametrize("limit", [1.0, 0.6])
@pytest.mark.parametrize("trains", TRAINS)
def test_it_is_its_source_untrained_and_forgets_labels_where_it_samples(
    trains: str, limit: float, make_unet: MakeUnet
) -> None:
    table = {"all": "full", "adaptors": "adaptor"}.get(trains, trains)
    config = config_of(trains, **{table: {"t_limit": limit}})
    x_t, t, label = some_images(2, 16), torch.tensor([100, 900]), ALWAYS.draw(2, seeded())
    network = build_network(make_unet(), config, PLAIN)
    network.keep_source()
    with torch.no_grad():
        source = make_unet()(x_t, t).sample
        with network.told(label):
            torch.testing.assert_close(network(x_t, t), source, rtol=0, atol=0)
        embedding = network.trained()["labels.linear.weight"]
        embedding.normal_(generator=seeded())
        torch.testing.assert_close(network(x_t, t), source, rtol=0, atol=0)
        with network.told(label):
            told = network(x_t, t)
            torch.testing.assert_close(network.source(x_t, t), source, rtol=0, atol=0)
        assert (told - source)[0].abs().max() > 1e-3
        # Above the limit the source speaks.
        assert torch.equal(told[1], source[1]) == (limit < 1)


def test_what_it_merges_to_knows_no_labels(make_unet: MakeUnet) -> None:
    network = build_network(make_unet(), config_of("all"), PLAIN)
    with torch.no_grad():
        for parameter in network.trained().values():
            parameter.add_(0.03)
    merged, x_t, t = network.merged(), some_images(1, 16), torch.tensor([300])
    assert merged is not None
    assert merged.state_dict().keys() == make_unet().state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(merged(x_t, t).sample, network(x_t, t), rtol=0, atol=0)


def training_of(
    make_unet: MakeUnet, accelerator: Accelerator, method: str = "finetune-ada", **less: Any
) -> Training:
    names = {"source": "a", "target": "b", "method": method}
    often = {"augmentation": {"geometry": 0.6, "colour": 0.6}}
    config = adapt_config_from(names, often, {"training": {"steps": 3, "batch_size": 4, **less}})
    pixels = ((some_images(3) + 1) * 127.5).round().to(torch.uint8)
    network = build_network(make_unet(SIDE, (8, 16)), config, PLAIN)
    rules = build_objective(config, {})
    return Training(network, Pixels(pixels), config.training, accelerator, objective=rules)


def test_the_embedding_trains_with_the_rest(make_unet: MakeUnet, accelerator: Accelerator) -> None:
    training = training_of(make_unet, accelerator)
    losses = [record.loss for record in training.steps()]
    assert training.parameters["labels.linear.weight"].abs().max() > 1e-5
    plain = training_of(make_unet, accelerator, "finetune")
    assert losses != [record.loss for record in plain.steps()]


@pytest.mark.parametrize("less", [{"micro_batch": 1}, {"micro_batch": 3}, {"low_memory": True}])
def test_less_memory_gives_the_same_result(
    less: dict[str, Any], make_unet: MakeUnet, accelerator: Accelerator
) -> None:
    whole, parts = (training_of(make_unet, accelerator, **more) for more in ({}, less))
    for one, other in zip(whole.steps(), parts.steps(), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)


@pytest.mark.parametrize("processes", [2, 3])
def test_what_is_drawn_counts_by_the_place_in_the_global_batch(
    processes: int, make_unet: MakeUnet, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_of(make_unet, accelerator)
    (whole,) = training._draw()
    monkeypatch.setattr(type(accelerator), "num_processes", processes)
    for index in range(processes):
        monkeypatch.setattr(type(accelerator), "process_index", index)
        (own,) = training._draw()
        assert own.label is not None and whole.label is not None
        torch.testing.assert_close(own.label, whole.label[index::processes], rtol=0, atol=0)
        torch.testing.assert_close(own.x_0, whole.x_0[index::processes], rtol=0, atol=1e-6)


def test_a_counterpart_is_changed_as_its_image_is(
    make_unet: MakeUnet, accelerator: Accelerator
) -> None:
    training = training_of(make_unet, accelerator)
    (plain,) = training._draw()
    assert plain.pair is None
    kept = training.examples.x_0.repeat_interleave(2, 0)
    pairs = Counterparts(Pixels(kept), 2, 0.5, 0.3)
    training.parts[""].objective = replace(training.parts[""].objective, counterparts=pairs)
    (step,) = training._draw()
    # Each counterpart is its image: after the change, too.
    torch.testing.assert_close(step.counterpart, step.x_0, rtol=0, atol=0)
    torch.testing.assert_close(step.x_0, plain.x_0, rtol=0, atol=0)


def test_latents_have_no_pixels_to_change() -> None:
    check_pixels(config_of("all"), latent=False)
    check_pixels(
        adapt_config_from({"source": "a", "target": "b", "method": "finetune"}), latent=True
    )
    with pytest.raises(AntError, match="the source diffuses latents") as raised:
        check_pixels(config_of("all"), latent=True)
    assert raised.value.exit_code == 2


def test_its_settings_have_ranges() -> None:
    assert TrainingConfig().flip  # mirror images are not told of: samples may be such
    with pytest.raises(AntError, match=r"augmentation\.colour is out of range"):
        config_of("all", augmentation={"colour": 1.5})
