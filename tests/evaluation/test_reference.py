"""Reference statistics: a file that can be trusted, and a cache that cannot do harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from antcli.artifacts import load_metadata, save_tensors
from antcli.errors import AntError
from antcli.evaluation.features import FeatureSpace
from antcli.evaluation.reference import Statistics, statistics_of
from antcli.images.folder import ImageFiles, check_folder


class MeanColours:
    """A space simple enough to be seen through, which counts the images it is given."""

    dimension, definition = 3, {}

    def __init__(self, label: str = "mean colours", broken: bool = False) -> None:
        self.label = label
        self.broken = broken
        self.given = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.given += len(images)
        return images.float().mean((2, 3)) / (0 if self.broken else 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(6):
        image = Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        image.save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def some() -> Statistics:
    features = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    return Statistics("mean colours", features, "1f")


def of(folder: Path, space: FeatureSpace, cache: Path) -> Statistics:
    return statistics_of(ImageFiles(check_folder(folder)), space, cache=cache)


def test_a_file_keeps_all(some: Statistics, tmp_path: Path) -> None:
    some.save(tmp_path / "some.safetensors")
    found = Statistics.load(tmp_path / "some.safetensors", "mean colours")
    assert torch.equal(found.features, some.features)
    assert (found.space, found.images_sha256, found.count) == ("mean colours", "1f", 20)
    rows = some.features.double().numpy()
    np.testing.assert_allclose(found.gaussian.mean, rows.mean(0), atol=1e-12)
    np.testing.assert_allclose(found.gaussian.covariance, np.cov(rows.T), atol=1e-12)
    assert found.gaussian.covariance.dtype == torch.float64


def test_a_file_of_another_space_is_refused(some: Statistics, tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    some.save(path)
    with pytest.raises(AntError, match="of the feature space mean colours, not of inception X"):
        Statistics.load(path, "inception X")


@pytest.mark.parametrize("left", [0, 50, 0.5, 0.99])
def test_a_file_cut_short_is_refused(left: float, some: Statistics, tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    some.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole) if left < 1 else left)])
    with pytest.raises(AntError, match="not a whole safetensors file"):
        Statistics.load(path, "mean colours")


def test_a_changed_bit_and_nan_are_refused(some: Statistics, tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    some.save(path)
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 1
    path.write_bytes(whole)
    with pytest.raises(AntError, match="is damaged"):
        Statistics.load(path, "mean colours")
    some.features[3, 2] = torch.nan
    some.save(path)
    with pytest.raises(AntError, match="holds NaN"):
        Statistics.load(path, "mean colours")


def test_other_files_are_refused(tmp_path: Path) -> None:
    text, weights = tmp_path / "text.safetensors", tmp_path / "weights.safetensors"
    text.write_text("a page of text\n" * 20)
    save_tensors(weights, {"features": torch.zeros(2, 2)}, {"ant.kind": "classifier"})
    for path, message in (
        (text, "not a whole safetensors file"),
        (weights, "holds no statistics"),
        (tmp_path / "nowhere", "there is no file"),
    ):
        with pytest.raises(AntError, match=message):
            Statistics.load(path, "mean colours")


def test_features_are_in_the_order_of_the_images(folder: Path, tmp_path: Path) -> None:
    found = of(folder, MeanColours(), tmp_path / "cache")
    expected = [np.asarray(Image.open(folder / f"{i}.png")).mean((0, 1)) for i in range(6)]
    np.testing.assert_allclose(found.features, expected, rtol=1e-5)


def test_the_second_time_the_file_is_read(folder: Path, tmp_path: Path) -> None:
    first = of(folder, MeanColours(), tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    assert load_metadata(kept)["ant.space"] == "mean colours"
    space = MeanColours()
    (folder / "0.png").rename(folder / "00.png")  # what counts is the content
    second = of(folder, space, tmp_path / "cache")
    assert space.given == 0
    assert torch.equal(first.features, second.features)
    assert first.images_sha256 == second.images_sha256


def test_other_content_or_another_space_is_computed(folder: Path, tmp_path: Path) -> None:
    first = of(folder, MeanColours(), tmp_path / "cache")
    other = MeanColours("other colours")
    assert of(folder, other, tmp_path / "cache").space == "other colours"
    assert other.given == 6
    assert len(list((tmp_path / "cache").iterdir())) == 2, "one has replaced the other"
    Image.new("RGB", (9, 9), "red").save(folder / "3.png")
    space = MeanColours()
    changed = of(folder, space, tmp_path / "cache")
    assert space.given == 6
    assert changed.images_sha256 != first.images_sha256
    assert changed.features[3].tolist() == [255, 0, 0]


@pytest.mark.parametrize("left", [0, 0.5, 1])
def test_a_damaged_cache_is_computed_again(left: float, folder: Path, tmp_path: Path) -> None:
    first = of(folder, MeanColours(), tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.read_bytes()
    damaged = bytearray(whole[: int(left * len(whole))])
    damaged[-1:] = b"\xff" if damaged else b""
    kept.write_bytes(damaged)
    space = MeanColours()
    assert torch.equal(of(folder, space, tmp_path / "cache").features, first.features)
    assert space.given == 6
    assert Statistics.load(kept, "mean colours").count == 6


def test_a_cache_that_cannot_be_written_does_no_harm(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert of(folder, MeanColours(), tmp_path / "file").count == 6


def test_the_cache_is_where_caches_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    statistics_of(ImageFiles(check_folder(folder)), MeanColours())
    assert len(list((tmp_path / "xdg" / "ant" / "statistics").glob("*.safetensors"))) == 1


def test_nothing_is_kept_of_a_broken_network_or_of_one_image(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AntError, match="NaN or infinity for 6 of 6 reference images"):
        of(folder, MeanColours(broken=True), tmp_path / "cache")
    for i in range(1, 6):
        (folder / f"{i}.png").unlink()
    with pytest.raises(AntError, match="too few reference images: 1"):
        of(folder, MeanColours(), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_progress_is_told_where_something_is_done(folder: Path, tmp_path: Path) -> None:
    images, steps = ImageFiles(check_folder(folder)), []
    for _ in range(2):
        statistics_of(images, MeanColours(), cache=tmp_path, batch_size=4, advance=steps.append)
    assert steps == [4, 2]
