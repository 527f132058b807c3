"""LPIPS to the target images against pairwise calls of the lpips package."""

from __future__ import annotations

import copy
import warnings

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from antcli.evaluation import centres as module
from antcli.evaluation.centres import Centres, lpips_to, to_evaluation_size
from antcli.evaluation.lpips import LpipsFeatures


@pytest.fixture(scope="module")
def metric() -> lpips.LPIPS:
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)


def pictures(count: int, seed: int) -> list[Image.Image]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in pixels]


def test_distances_are_those_of_pairwise_calls(
    metric: lpips.LPIPS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIZE", 64)  # a sixteenth of the work
    images, target, done = pictures(5, 0), pictures(3, 1), []
    features = LpipsFeatures(copy.deepcopy(metric), "random")
    centres = Centres(target, features)
    found = lpips_to(images, centres, features, batch_size=2, advance=done.append)
    exact = metric.double()
    x, c = (
        [transforms.functional.to_tensor(image)[None].double() * 2 - 1 for image in several]
        for several in (images, target)
    )
    with torch.no_grad():
        to_target = torch.tensor([[exact(a, b).item() for b in c] for a in x])
        among_target = torch.tensor([[exact(a, b).item() for b in c] for a in c])
    torch.testing.assert_close(found, to_target, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(centres.apart, among_target, rtol=1e-4, atol=1e-6)
    assert centres.apart.diagonal().tolist() == [0.0, 0.0, 0.0]
    assert done == [2, 2, 1]


@pytest.mark.parametrize("size", [32, 200, 256, 700])
def test_resizing_is_torchvisions(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIZE", 256)
    pixels = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = transforms.Compose([transforms.Resize((256, 256)), transforms.PILToTensor()])(image)
    found = to_evaluation_size(image)
    assert (found.shape, found.dtype) == ((3, 256, 256), torch.uint8)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "image", [Image.new("RGBA", (8, 8)), Image.new("P", (8, 8)), Image.new("RGB", (8, 9))]
)
def test_images_that_would_be_measured_wrongly_are_refused(image: Image.Image) -> None:
    with pytest.raises(ValueError, match="not a square RGB image"):
        to_evaluation_size(image)
