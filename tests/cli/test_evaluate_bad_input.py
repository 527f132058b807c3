"""What `ant evaluate` says to what it cannot measure: one line, exit code 1, nothing written."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from antcli.runs.run import Run

OFFLINE = ["--device", "cpu"]
METRICS = ["intra-lpips", "fid", "kid", "prdc", "memorization", "all"]


@pytest.fixture
def measure(
    ant: Callable, tiny_target: Path, tiny_source: Path, random_trunk: Path, tmp_path: Path
) -> Callable:
    """Any metric of folders, with all that it needs."""

    def run(metric: str, *, images: Path = tiny_target, other: Path = tiny_target) -> Any:
        options: list[Any] = ["--images", images, "--target", other]
        if metric in ("fid", "kid", "prdc", "all"):
            options += ["--source", tiny_source]
        if metric in ("intra-lpips", "memorization", "all"):
            options += ["--net", "squeeze", "--trunk-weights", random_trunk]
        if metric == "memorization":
            options += ["--pairs", tmp_path / "pairs.png"]
        return ant("evaluate", metric, *options, *OFFLINE)

    return run


def assert_refused(done: Any, *says: str) -> None:
    """One clear line, then a hint, and no result."""
    assert (done.code, done.out) == (1, ""), done.err
    lines = done.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and lines[-1].startswith("hint: "), done.err
    for part in says:
        assert part in errors[0]


def some(tiny_target: Path, folder: Path, count: int) -> Path:
    """A folder of `count` images."""
    folder.mkdir()
    for number in range(count):
        shutil.copy(tiny_target / f"{number}.png", folder)
    return folder


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("which", ["images", "other"])
def test_files_that_only_look_like_images_are_named(
    metric: str, which: str, measure: Callable, tiny_target: Path, tmp_path: Path
) -> None:
    folder = some(tiny_target, tmp_path / "mixed", 8)
    (folder / "broken.png").write_text("no image")
    (folder / "empty.jpg").write_bytes(b"")
    assert_refused(
        measure(metric, **{which: folder}),
        "2 of 10 images",
        "broken.png is not an image; empty.jpg is empty",
    )
    assert not (tmp_path / "pairs.png").exists()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("which", ["images", "other"])
def test_an_image_that_is_cut_short_is_named(
    metric: str, which: str, measure: Callable, tiny_target: Path, tmp_path: Path
) -> None:
    folder = some(tiny_target, tmp_path / "cut", 8)
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    assert_refused(measure(metric, **{which: folder}), "3.png is cut short")
    assert not (tmp_path / "pairs.png").exists()


def test_other_things_in_a_folder_are_passed_over(
    measure: Callable, tiny_target: Path, tmp_path: Path
) -> None:
    folder = some(tiny_target, tmp_path / "others", 10)
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.png").write_text("not looked at")
    (folder / "more").mkdir()
    alone = measure("fid").out
    assert alone.startswith("fid 0.0000")
    assert measure("fid", images=folder).out == alone.replace(
        f"({tiny_target.name})", f"({folder.name})"
    )


@pytest.mark.parametrize("metric", METRICS)
def test_images_of_several_sizes_are_measured(
    metric: str, measure: Callable, tmp_path: Path
) -> None:
    folder = tmp_path / "sizes"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number, (width, height) in enumerate([(32, 32), (64, 40), (30, 99), (16, 16)] * 2):
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    done = measure(metric, images=folder, other=folder)
    assert done.code == 0, done.err
    assert not re.search(r"\bnan\b", done.out)


@pytest.mark.parametrize(
    ("metric", "which", "count", "says"),
    [
        ("fid", "images", 1, "too few generated images: 1, where at least 2 are needed"),
        ("kid", "images", 1, "too few generated images: 1, where at least 2 are needed"),
        ("prdc", "images", 5, "too few generated images: 5, where at least 6 are needed"),
        ("fid", "other", 1, "too few target images: 1, where at least 2 are needed"),
        ("kid", "other", 1, "too few target images: 1, where at least 2 are needed"),
        ("prdc", "other", 5, "too few target images: 5, where at least 6 are needed"),
        ("memorization", "other", 1, "too few target images: 1, where at least 2 are needed"),
        ("all", "other", 1, "too few target images: 1, where at least 2 are needed"),
        ("all", "images", 1, "too few generated images: 1, where at least 2 are needed"),
    ],
)
def test_fewer_images_than_a_metric_needs(
    metric: str,
    which: str,
    count: int,
    says: str,
    measure: Callable,
    tiny_target: Path,
    tmp_path: Path,
) -> None:
    folder = some(tiny_target, tmp_path / "few", count)
    assert_refused(measure(metric, **{which: folder}), says)


def test_a_run_is_not_sampled_for_a_reference_that_is_too_small_or_damaged(
    ant: Callable, run: Path, tiny_target: Path, random_trunk: Path, tmp_path: Path
) -> None:
    trunk = ["--net", "squeeze", "--trunk-weights", random_trunk]
    few = some(tiny_target, tmp_path / "few", 3)
    assert_refused(
        ant("evaluate", "prdc", run, "--reference", few, *OFFLINE), "too few reference images: 3"
    )
    (few / "1.png").write_bytes((few / "1.png").read_bytes()[:-60])
    assert_refused(ant("evaluate", "kid", run, "--reference", few, *OFFLINE), "1.png is cut short")
    done = ant("evaluate", "all", run, "--target", few, *trunk, *OFFLINE)
    assert_refused(done, "1.png is cut short")
    assert not (run / "samples").exists()
    assert not (run / "evaluation.json").exists()


@pytest.fixture
def statistics(ant: Callable, tiny_target: Path, tiny_source: Path, tmp_path: Path) -> Path:
    """The statistics of the target's images, as the cache keeps them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        folders = ["--images", tiny_target, "--reference", tiny_target, "--source", tiny_source]
        assert ant("evaluate", "fid", *folders, *OFFLINE).code == 0
    (file,) = (tmp_path / "cache" / "ant" / "statistics").iterdir()
    return Path(file)


def test_a_file_of_statistics_that_is_none(
    ant: Callable, statistics: Path, tiny_target: Path, tiny_source: Path, tmp_path: Path
) -> None:
    def against(file: Path) -> Any:
        folders = ["--images", tiny_target, "--reference", file, "--source", tiny_source]
        return ant("evaluate", "fid", *folders, *OFFLINE)

    assert against(statistics).code == 0
    whole, other = statistics.read_bytes(), tmp_path / "other.safetensors"
    for content in (b"", whole[:50], whole[: len(whole) // 2], whole[:-1], b"text " * 99):
        other.write_bytes(content)
        assert_refused(against(other), "other.safetensors is not a whole safetensors file")
    tensors = load_file(statistics)
    with safe_open(statistics, "pt") as file:
        says = dict(file.metadata())
    save_file(tensors, other, {**says, "ant.space": "inception (x)"})
    assert_refused(against(other), "is of the feature space inception (x), not of source")
    save_file({"more": torch.zeros(1)}, other, says)
    assert_refused(against(other), "is damaged")
    save_file(tensors, other, {"ant.kind": "statistics"})
    assert_refused(against(other), "holds no statistics of images")
    assert_refused(against(tmp_path / "none.safetensors"), "there is no file")


def spoilt(file: Path) -> None:
    """Put a NaN into each tensor of a weights file."""
    with safe_open(file, "pt") as opened:
        says = opened.metadata()
    tensors = load_file(file)
    for tensor in tensors.values():
        tensor.view(-1)[0] = torch.nan
    save_file(tensors, file, says)


@pytest.mark.parametrize("metric", ["fid", "kid", "prdc"])
def test_nan_in_the_features_of_a_source(
    metric: str, ant: Callable, tiny_target: Path, tiny_source: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(tiny_source, tmp_path / "source"))
    (weights,) = source.rglob("*.safetensors")
    spoilt(weights)
    folders = ["--images", tiny_target, "--target", tiny_target, "--source", source]
    assert_refused(ant("evaluate", metric, *folders, *OFFLINE), "gave NaN or infinity for 10 of 10")


@pytest.mark.parametrize("metric", ["intra-lpips", "memorization"])
def test_nan_in_the_features_of_lpips(
    metric: str, ant: Callable, tiny_target: Path, random_trunk: Path, tmp_path: Path
) -> None:
    trunk = Path(shutil.copy(random_trunk, tmp_path / "trunk.safetensors"))
    spoilt(trunk)
    options = ["--images", tiny_target, "--target", tiny_target, "--net", "squeeze"]
    done = ant("evaluate", metric, *options, "--trunk-weights", trunk, *OFFLINE)
    assert_refused(done, "gave NaN or infinity for 10 of 10 target images")


def test_a_run_that_draws_nan(ant: Callable, run: Path, random_trunk: Path) -> None:
    spoilt(Run(run).weights)
    trunk = ["--net", "squeeze", "--trunk-weights", random_trunk]
    done = ant("evaluate", "all", run, "-n", 12, *trunk, *OFFLINE)
    assert_refused(done, "weights.safetensors gives NaN or infinity instead of images")
    assert not list((run / "samples").glob("*")) and not (run / "evaluation.json").exists()
