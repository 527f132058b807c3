"""`ant evaluate fid | kid | prdc | memorization | all | checkpoints` from the command line."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from antcli.errors import AntError
from antcli.evaluation import lpips, scoring
from antcli.evaluation.features.source import SourceSpace
from antcli.runs.run import Run

OFFLINE = ["--device", "cpu"]


@pytest.fixture
def squeeze(random_trunk: Path) -> list[Any]:
    """Options that name a trunk."""
    return ["--net", "squeeze", "--trunk-weights", random_trunk]


@pytest.mark.parametrize("metric", ["fid", "kid"])
def test_a_distance_of_a_run_and_of_its_source(ant: Callable, run: Path, metric: str) -> None:
    done = ant("evaluate", metric, run, "-n", 12, "--json", *OFFLINE)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["metric"] == found["source"]["metric"] == metric
    assert found["space"].startswith("source ")
    assert found["value"] != found["source"]["value"]
    assert found["definition"]["reference_images"] == 10
    assert len(list((run / "samples").iterdir())) == 12
    assert len(list((run / "source-samples").iterdir())) == 12


def test_the_space_is_named_beside_every_number(ant: Callable, run: Path) -> None:
    done = ant("evaluate", "prdc", run, "-n", 12, *OFFLINE)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("prdc precision ") and lines[0].endswith("(adapted)")
    assert sum(line.endswith("(source, not adapted)") for line in lines) == 1
    assert sum(line.strip().startswith("space: source ") for line in lines) == 2
    cautions = [line for line in done.err.splitlines() if line.startswith("caution: ")]
    assert cautions and len(cautions) == len(set(cautions))


def test_samples_are_drawn_once_for_all_metrics(ant: Callable, run: Path) -> None:
    ant("evaluate", "fid", run, "-n", 12, *OFFLINE)
    drawn = {path: path.stat().st_mtime_ns for path in (run / "samples").iterdir()}
    ant("evaluate", "kid", run, "-n", 12, *OFFLINE)
    assert {path: path.stat().st_mtime_ns for path in (run / "samples").iterdir()} == drawn


def test_features_of_a_folder_are_computed_once(
    ant: Callable,
    tiny_target: Path,
    tiny_source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, encode = [], SourceSpace.__call__

    def counted(space: SourceSpace, images: Tensor) -> Tensor:
        given.append(len(images))
        return encode(space, images)

    monkeypatch.setattr(SourceSpace, "__call__", counted)
    folder = tmp_path / "images"
    shutil.copytree(tiny_target, folder)
    asked = ["--images", folder, "--target", tiny_target, "--source", tiny_source, "--json"]
    first = ant("evaluate", "kid", *asked, *OFFLINE)
    count = len(list(folder.iterdir()))
    assert sum(given) == count, "the target's are the same files"
    again = ant("evaluate", "kid", *asked, *OFFLINE)
    assert again.out == first.out
    ant("evaluate", "fid", *asked, *OFFLINE)
    assert sum(given) == count
    (folder / "another.png").write_bytes(next(folder.iterdir()).read_bytes())
    assert ant("evaluate", "kid", *asked, *OFFLINE).out != first.out
    assert sum(given) == 2 * count + 1


def test_a_folder_against_itself_is_at_distance_zero(
    ant: Callable, tiny_target: Path, tiny_source: Path
) -> None:
    folders = ["--images", tiny_target, "--reference", tiny_target, "--source", tiny_source]
    found = json.loads(ant("evaluate", "fid", *folders, "--json", *OFFLINE).out)
    assert found["value"] == pytest.approx(0, abs=1e-6)
    assert "source" not in found


def test_copies_are_called_copies_and_shown(
    ant: Callable, tiny_target: Path, squeeze: list[Any], tmp_path: Path
) -> None:
    page = tmp_path / "pairs.png"
    folders = ["--images", tiny_target, "--target", tiny_target, "--pairs", page]
    done = ant("evaluate", "memorization", *folders, *squeeze, "--json", *OFFLINE)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["copy_rate"] == 1.0
    assert found["authenticity"] == 0.0
    assert found["nearest"] == list(range(10))
    assert found["space"].startswith("LPIPS-squeeze")
    with Image.open(page) as image:
        assert image.width > 5 * 2 * 96


def test_copying_can_be_told_in_a_feature_space(ant: Callable, run: Path) -> None:
    done = ant("evaluate", "memorization", run, "-n", 12, "--features", "source", *OFFLINE)
    assert done.code == 0, done.err
    assert done.out.startswith("memorization copy rate ")
    assert (run / "nearest-pairs.png").is_file()


def test_all_metrics_are_kept_in_the_run(ant: Callable, run: Path, squeeze: list[Any]) -> None:
    done = ant("evaluate", "all", run, "-n", 12, "--json", *squeeze, *OFFLINE)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [row["name"] for row in found["rows"]] == ["adapted", "source, not adapted"]
    for row in found["rows"]:
        assert list(row["metrics"]) == ["intra-lpips", "fid", "kid", "prdc", "memorization"]
    assert found == json.loads((run / "evaluation.json").read_text())
    alone = json.loads(ant("evaluate", "kid", run, "-n", 12, "--json", *OFFLINE).out)
    assert found["rows"][0]["metrics"]["kid"]["value"] == alone["value"]
    copies = ant("evaluate", "memorization", run, "-n", 12, "--json", *squeeze, *OFFLINE)
    rate = found["rows"][0]["metrics"]["memorization"]
    assert rate["nearest"] == json.loads(copies.out)["nearest"]


def test_all_does_what_it_can_without_a_trunk(
    ant: Callable, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(url: str, file: Path, *_: object, **__: object) -> None:
        raise AntError(f"cannot get {file.name}", "put it there")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(lpips, "download", unreachable)
    done = ant("evaluate", "all", run, "-n", 12, "--json", *OFFLINE)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert list(found["left_out"]) == ["intra-lpips"]
    assert "left out: intra-lpips" in done.err
    assert found["rows"][0]["metrics"]["memorization"]["space"].startswith("source ")


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch, run: Path) -> Path:
    """A run whose checkpoints are quickly scored."""
    monkeypatch.setattr(scoring, "SAMPLES", 6)
    monkeypatch.setattr(scoring, "SAMPLING_STEPS", 2)
    return run


def test_checkpoints_are_scored_and_one_is_taken(ant: Callable, scored: Path) -> None:
    done = ant("evaluate", "checkpoints", scored, "--json", "--take", *OFFLINE)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [score["step"] for score in found["scores"]] == [0, 2, 4]
    assert found["step"] in (2, 4)
    taken = Run(scored)
    assert taken.taken_step == found["step"]
    weights, kept = load_file(taken.weights), load_file(taken.checkpoints[found["step"]])
    assert all(weights[name].equal(kept[name]) for name in weights)
    assert (scored / "curve.svg").is_file()
    again = ant("evaluate", "checkpoints", scored, *OFFLINE)
    assert f"step {found['step']}: " in again.out
    assert "<- take this one" in again.out


def test_a_run_without_checkpoints(ant: Callable, scored: Path) -> None:
    shutil.rmtree(scored / "checkpoints")
    done = ant("evaluate", "checkpoints", scored, *OFFLINE)
    assert done.code == 1
    assert "no checkpoints" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["fid", "--images", "here"], 2, "--target"),
        (["fid", "--features", "pixels"], 2, "--features"),
        (["kid", "--images", "nowhere", "--reference", "nowhere"], 1, "nowhere"),
        (["prdc", "--reference", "none.safetensors"], 1, "none.safetensors"),
    ],
)
def test_wrong_usage(ant: Callable, run: Path, arguments: list[str], code: int, says: str) -> None:
    given = arguments if "--images" in arguments else [arguments[0], run, *arguments[1:]]
    done = ant("evaluate", *given, *OFFLINE)
    assert done.code == code
    assert says in done.err
    assert done.out == ""
    assert not (run / "samples").exists()


def test_too_few_images_for_a_metric(
    ant: Callable, tiny_target: Path, tiny_source: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for name in sorted(path.name for path in tiny_target.iterdir())[:3]:
        shutil.copy(tiny_target / name, few)
    folders = ["--images", tiny_target, "--reference", few, "--source", tiny_source]
    done = ant("evaluate", "prdc", *folders, *OFFLINE)
    assert done.code == 1
    assert "too few reference images: 3" in done.err
    assert done.out == ""


def test_the_reference_as_one_file_gives_the_same_number(
    ant: Callable, tiny_target: Path, tiny_source: Path
) -> None:
    asked = ["evaluate", "fid", "--images", tiny_target, "--source", tiny_source, "--json"]
    folder = ant(*asked, "--reference", tiny_target, *OFFLINE)
    named = re.search(r"--reference (\S+\.safetensors)", folder.err)
    assert named is not None
    file = ant(*asked, "--reference", named[1], *OFFLINE)
    assert file.code == 0
    assert file.out == folder.out
    assert "--reference" not in file.err


def test_a_statistics_file_of_another_source_is_refused(
    ant: Callable, run: Path, tiny_target: Path, tmp_path: Path
) -> None:
    from antcli.evaluation.features import open_space
    from antcli.evaluation.reference import statistics_of
    from antcli.images.folder import ImageFiles, check_folder
    from antcli.sources.source import find_source

    space = open_space("source", source=find_source("avatars"))
    statistics = statistics_of(ImageFiles(check_folder(tiny_target)), space)
    file = tmp_path / "other.safetensors"
    statistics.save(file)
    done = ant("evaluate", "fid", run, "--reference", file, *OFFLINE)
    assert done.code == 1
    assert "is of the feature space source avatars" in done.err
    file.write_bytes(file.read_bytes()[:-100])
    assert (
        "not a whole safetensors file"
        in ant("evaluate", "fid", run, "--reference", file, *OFFLINE).err
    )
    assert not (run / "samples").exists()
