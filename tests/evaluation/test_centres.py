"""LPIPS to the target images against pairwise calls of the lpips package."""

from __future__ import annotations

import copy

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from precision import rounding
from torch import Tensor
from torchvision import transforms

from antcli.evaluation import centres as module
from antcli.evaluation.centres import ACCURACY, CHUNK, Centres, lpips_to, to_evaluation_size
from antcli.evaluation.lpips import LpipsFeatures


def pictures(count: int, seed: int) -> list[Image.Image]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in pixels]


def pairwise(metric: lpips.LPIPS, a: list[Image.Image], b: list[Image.Image]) -> Tensor:
    """A call of the package for each pair, in float64, of the pixels that float32 gives."""
    exact = copy.deepcopy(metric).double()
    x, y = (
        [transforms.functional.to_tensor(image)[None].mul(2).sub(1).double() for image in several]
        for several in (a, b)
    )
    with torch.no_grad():
        return torch.tensor([[exact(i, j).item() for j in y] for i in x], dtype=torch.float64)


def test_distances_are_those_of_pairwise_calls(
    metric: lpips.LPIPS, exact_features: LpipsFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIZE", 64)  # a sixteenth of the work
    images, target, done = pictures(5, 0), pictures(3, 1), []
    centres = Centres(target, exact_features)
    found = lpips_to(images, centres, exact_features, batch_size=2, advance=done.append)
    expected = pairwise(metric, images, target)
    torch.testing.assert_close(found, expected.to(found), rtol=1e-6, atol=0)
    expected = pairwise(metric, target, target)
    torch.testing.assert_close(centres.apart, expected, rtol=1e-9, atol=0)
    assert centres.apart.diagonal().tolist() == [0.0, 0.0, 0.0]
    assert done == [2, 2, 1]


@pytest.mark.usefixtures("machine")
def test_copies_are_near_in_float32_whatever_the_kernels(
    metric: lpips.LPIPS, features: LpipsFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same image, one with a changed pixel, another one: each at the distance it has."""
    monkeypatch.setattr(module, "SIZE", 64)
    copied, changed, other = *pictures(1, 0) * 2, pictures(1, 2)[0]
    changed = changed.copy()
    changed.putpixel((20, 30), (255, 255, 255))
    images, target = [copied, changed, other], [copied]
    centres = Centres(target, features)
    found = lpips_to(images, centres, features)[:, 0].double()
    expected = pairwise(metric, images, target)[:, 0]
    # By the triangle inequality: a distance changes by what both ends move.
    moved = 2 * rounding(features.layers) * centres.vectors.double().norm()
    assert ((found.sqrt() - expected.sqrt()).abs() <= moved).all(), (found, expected, moved)
    assert expected[1].sqrt() > 10 * moved, "the test must tell a changed pixel from none"


@pytest.mark.parametrize("apart", [0.0, 1e-6, 1e-3, 1e-2, 0.1, 1.0])
def test_near_vectors_are_as_far_apart_as_float64_says(apart: float) -> None:
    draw = torch.Generator().manual_seed(0)
    width = 3 * CHUNK + 17
    centres = Given(torch.randn(3, width, generator=draw))
    vectors = centres.vectors + apart * torch.randn(3, width, generator=draw)
    found = centres.distances(vectors)
    x, c = vectors.double(), centres.vectors.double()
    expected = torch.stack([(x - one).square().sum(1) for one in c], dim=1)
    torch.testing.assert_close(found, expected, rtol=ACCURACY, atol=0)
    if apart == 0:
        assert found.diagonal().tolist() == [0.0, 0.0, 0.0]


def test_one_number_that_differs_is_seen() -> None:
    centres = Given(torch.ones(1, CHUNK + 1))
    vectors = torch.ones(2, CHUNK + 1)
    vectors[1, 7] += 2**-20
    assert centres.distances(vectors).flatten().tolist() == [0.0, 2.0**-40]


class Given(Centres):
    """Vectors that no trunk made."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors


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
