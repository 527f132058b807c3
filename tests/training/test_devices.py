"""What a step draws is on the device that it trains on, whatever is kept elsewhere."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from begun_trainings import begun, few_steps
from diffusers import UNet2DModel
from fake_device import DEVICE, FakeDevice, crossings

from antcli.config import TrainingConfig
from antcli.diffusion.examples import Pixels
from antcli.methods.augmentation.ada import Ada, AugmentationSettings
from antcli.methods.build import Objective
from antcli.methods.counterparts import Counterparts
from antcli.methods.table import METHODS
from antcli.methods.trainable.denoiser import Denoiser
from antcli.methods.trainable.tuned import TunedDenoiser
from antcli.methods.transplants import Transplants
from antcli.training.loop import Training
from antcli.training.source_examples import squared_gradients

IMAGES, DRAWS, HOSTS, SIDE = 4, 2, 6, 16
pytestmark = pytest.mark.usefixtures("no_autocast")


class There:
    """An accelerator of another device."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._own, self.device = accelerator, DEVICE

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def images(count: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=draw, dtype=torch.uint8)


def counterparts(device: torch.device | str, *, transplanted: bool) -> Counterparts:
    """As `load_counterparts` puts them on a device."""
    transplants = None
    if transplanted:
        new = torch.rand(IMAGES, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        fitting = torch.arange(HOSTS).expand(IMAGES, -1)
        hosts = Pixels(images(HOSTS, 2).to(device))
        shifts = torch.stack([fitting % 3 - 1, fitting % 2], 2)
        transplants = Transplants(hosts, new.to(device), fitting, t_least=100.0, shifts=shifts)
    return Counterparts(Pixels(images(IMAGES * DRAWS, 3).to(device)), DRAWS, 0.6, 0.5, transplants)


@pytest.mark.parametrize("what", ["nothing", "counterparts", "transplants", "ada"])
def test_what_a_step_draws_is_there_and_the_same(
    what: str, make_unet: Any, accelerator: Accelerator
) -> None:
    def objective(device: torch.device | str) -> Objective:
        if what == "ada":
            return Objective(augmentation=Ada(AugmentationSettings(0.6, 0.6)))
        if what == "nothing":
            return Objective()
        return Objective(counterparts=counterparts(device, transplanted=what == "transplants"))

    unet: UNet2DModel = make_unet()
    config = TrainingConfig(steps=1, batch_size=5)
    told: Any = {"objective": objective("cpu")}
    training = Training(TunedDenoiser(unet), Pixels(images(IMAGES, 0)), config, accelerator, **told)
    (expected,) = training._draw()
    with FakeDevice():
        training.accelerator = There(accelerator)  # type: ignore[assignment]
        training.parts[""].objective = objective(DEVICE)
        (found,) = training._draw()
        names = [name for name, x in vars(expected).items() if isinstance(x, torch.Tensor)]
        assert {"x_0", "eps", "t"} <= set(names)
        for name in names:
            there = getattr(found, name)
            assert there.device == DEVICE, name
            torch.testing.assert_close(there.cpu(), getattr(expected, name))


def test_gradients_are_of_examples_that_are_kept_elsewhere(make_unet: Any) -> None:
    network = TunedDenoiser(make_unet())
    examples = Pixels(images(IMAGES, 0))
    expected = squared_gradients(network, examples, 0, 1)
    with FakeDevice():
        on_device: Denoiser = network.to(DEVICE)
        found = squared_gradients(on_device, examples, 0, 1)
        for name, square in expected.items():
            torch.testing.assert_close(found[name].cpu(), square)


class Elsewhere(There):
    """It also trains there, without autocast and in one process."""

    scaler = None

    def prepare(self, *whatever: Any) -> tuple[Any, ...]:
        return whatever

    def autocast(self) -> Any:
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def reduce(self, x: torch.Tensor, _how: str) -> torch.Tensor:
        return x

    def clip_grad_norm_(self, parameters: Any, most: float) -> torch.Tensor:
        return torch.nn.utils.clip_grad_norm_(list(parameters), most)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_there_as_here(
    method: str, tiny_source: Path, tiny_target: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    config, folder = few_steps(method, tiny_source, tiny_target), tmp_path / "run"
    expected = [record.loss for record in begun(config, folder, accelerator).steps()]
    with FakeDevice():
        # What is drawn and trained before lies in files by now.
        training = begun(config, folder, Elsewhere(accelerator))  # type: ignore[arg-type]
        found = [record.loss for record in training.steps()]
        assert found == pytest.approx(expected, rel=1e-4)
        crossings.clear()
        batch = training._draw()
        assert crossings, "what is drawn goes there"
        crossings.clear()
        with training.network.below_limit():
            training.parts[""].backward(batch)
        assert crossings == [], "between a draw and its gradient nothing goes there or comes back"
