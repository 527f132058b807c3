"""Fixtures for all tests, and two guards: no network, and nothing in the user's home."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

import shutil
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image

from antcli.devices import make_accelerator
from antcli.training.pretraining import write_source

# Tiny networks gain nothing from threads, and one thread always sums in the same order.
torch.set_num_threads(1)

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """What a test draws does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`the latest run` is kept in a folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails, whether there is a network or not."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def local_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test reached for the network: {address}")
        connect(self, address)

    def local_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is not None and not str(host).startswith(LOOPBACK):
            raise AssertionError(f"a test looked up a name on the network: {host}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", local_connect)
    monkeypatch.setattr(socket, "getaddrinfo", local_look_up)


@pytest.fixture
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch does not know it for the device of `fake_device`."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


@pytest.fixture(scope="session")
def make_unet() -> Callable[..., UNet2DModel]:
    """Makes small U-Nets with random weights, attention on the smaller map."""

    def make(
        size: int = 16, channels: tuple[int, int] = (16, 32), seed: int = 0, **more: Any
    ) -> UNet2DModel:
        settings = {
            "sample_size": size,
            "in_channels": 3,
            "out_channels": 3,
            "layers_per_block": 1,
            "block_out_channels": channels,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            "norm_num_groups": 8,
            "attention_head_dim": 8,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet = UNet2DModel(**(settings | more))
        return unet.eval()

    return make


@pytest.fixture(scope="session")
def tiny_source(
    make_unet: Callable[..., UNet2DModel], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A source of 16x16 images with random weights; copy the folder to change it."""
    folder = tmp_path_factory.mktemp("sources") / "tiny"
    write_source(folder, make_unet(), DDPMScheduler())
    return folder


@pytest.fixture(scope="session")
def tiny_target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten 16x16 images, each of a colour of its own with some noise."""
    folder = tmp_path_factory.mktemp("targets") / "colours"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(10):
        colour, noise = draw.integers(40, 216, (1, 1, 3)), draw.integers(-40, 40, (16, 16, 3))
        Image.fromarray((colour + noise).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_conditions(tiny_target: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images as two conditions, four `hats` and six `specs`."""
    folder = tmp_path_factory.mktemp("targets") / "both"
    for number, image in enumerate(sorted(tiny_target.iterdir())):
        inner = folder / ("hats" if number < 4 else "specs")
        inner.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, inner / image.name)
    return folder


@pytest.fixture
def accelerator() -> Accelerator:
    """One process on the CPU, in float32."""
    return make_accelerator("cpu", "no")
