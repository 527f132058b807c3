"""What runs on a device without float64 gives what the CPU gives."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from fake_device import DEVICE, FakeDevice
from PIL import Image
from torch import Tensor

from antcli.evaluation import centres as module
from antcli.evaluation.centres import Centres, lpips_to
from antcli.evaluation.features import extract, open_space
from antcli.evaluation.intra_lpips import intra_lpips
from antcli.evaluation.lpips import LpipsFeatures
from antcli.evaluation.memorization import memorization
from antcli.evaluation.scoring import Scorer
from antcli.sources.source import Source, find_source

NAMES = ["a", "b", "c"]
pytestmark = pytest.mark.usefixtures("no_autocast")


def pictures(count: int, seed: int) -> list[Image.Image]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in pixels]


@pytest.fixture
def source(tiny_source: object) -> Source:
    return find_source(str(tiny_source))


def test_the_device_of_the_tests_has_no_float64() -> None:
    with FakeDevice():
        there = torch.ones(2).to(DEVICE)
        assert (there + 1).sum().cpu().item() == 4
        with pytest.raises(RuntimeError, match="no float64"):
            there.double()
        with pytest.raises(RuntimeError, match="no float64"):
            torch.zeros(2, dtype=torch.float64, device=DEVICE)
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.ones(2)


def test_lpips_and_what_is_made_of_it(
    features: LpipsFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIZE", 64)
    images, target = pictures(5, 0), pictures(3, 1)
    images[0] = target[2]

    def measured(features: LpipsFeatures) -> tuple[object, ...]:
        found = intra_lpips(images, target, NAMES, features)
        centres = Centres(target, features)
        copies = memorization(lpips_to(images, centres, features), centres.apart)
        return found.as_dict(), copies.as_dict()

    expected = measured(features)
    with FakeDevice():
        assert measured(copy.deepcopy(features).to(DEVICE)) == expected


def test_the_source_s_features(source: Source) -> None:
    expected = extract(open_space("source", source=source), pictures(3, 0))
    with FakeDevice():
        found = extract(open_space("source", source=source, device=DEVICE), pictures(3, 0))
    torch.testing.assert_close(found, expected)


def test_scores(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of given samples: diffusers' schedulers are not what is tested here."""

    def sample(source: Source, *_: object, device: torch.device, **__: object) -> Iterator[Tensor]:
        draw = torch.Generator().manual_seed(1)
        yield torch.rand(3, *source.shape, generator=draw).to(device)

    monkeypatch.setattr(Source, "sample", sample)
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(0, 256, (3, 3, 16, 16), generator=draw, dtype=torch.uint8)
    expected = Scorer(source, target, Accelerator(cpu=True)).unadapted
    with FakeDevice() as device:
        found = Scorer(source, target, device).unadapted  # type: ignore[arg-type]
    assert found.distance == pytest.approx(expected.distance, rel=1e-4)
    assert (found.diversity, found.copied) == (expected.diversity, expected.copied)
