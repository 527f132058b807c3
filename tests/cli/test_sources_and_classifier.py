"""`ant fetch-source` and `ant train-classifier`."""

import json
from collections.abc import Callable
from pathlib import Path


def test_a_source_is_found_and_its_place_printed(ant: Callable, tiny_source: Path) -> None:
    found = ant("fetch-source", tiny_source)
    assert found.code == 0
    assert found.out.strip() == str(tiny_source.resolve())
    facts = json.loads(ant("fetch-source", "avatars", "--json").out)
    assert (Path(facts["folder"]) / "unet" / "config.json").exists()
    assert facts["licence"] == "MIT"


def test_an_unknown_source_gets_the_nearest_names(ant: Callable) -> None:
    done = ant("fetch-source", "avatrs")
    assert done.code == 1
    assert "did you mean avatars" in done.err


def test_a_classifier_is_trained_once_and_used_by_a_run(
    ant: Callable, adapt: Callable, tiny_source: Path, tiny_target: Path, tmp_path: Path
) -> None:
    out = tmp_path / "classifier.safetensors"
    base = ["--source", tiny_source, "--target", tiny_target, "--out", out, "--steps", 5]
    base += ["--source-images", tiny_target, "--device", "cpu"]
    done = ant("train-classifier", *base, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["file"] == str(out)
    assert len(report["levels"]) == 7
    assert report["held_out_target"] == 2
    again = ant("train-classifier", *base)
    assert again.code == 1
    assert "--force" in again.err
    used = adapt("--classifier", out)
    assert used.code == 0
    assert "training the classifier" not in used.err


def test_one_class_against_itself_is_called_useless(
    ant: Callable, tiny_source: Path, tiny_target: Path, tmp_path: Path
) -> None:
    out = tmp_path / "classifier.safetensors"
    base = ["--source", tiny_source, "--target", tiny_target, "--out", out, "--steps", 1]
    done = ant("train-classifier", *base, "--source-images", tiny_target, "--device", "cpu")
    assert done.code == 0
    assert "useless" in done.err
