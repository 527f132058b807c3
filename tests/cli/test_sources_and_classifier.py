"""`ant fetch-source` and `ant train-classifier`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from antcli.artifacts import load_metadata
from antcli.methods.imagenet_classifier import PUBLISHED, EncoderShape

FIXTURES = Path(__file__).parents[1] / "methods" / "fixtures"


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
    used = adapt("--method", "ant", "--classifier", out)
    assert used.code == 0
    assert "training the classifier" not in used.err


@pytest.mark.parametrize(("steps", "says"), [(1, "after 1 steps"), (100, "is useless")])
def test_one_class_against_itself_is_called_useless_once_it_had_a_chance(
    steps: int,
    says: str,
    ant: Callable,
    tiny_source: Path,
    tiny_target: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "classifier.safetensors"
    base = ["--source", tiny_source, "--target", tiny_target, "--out", out, "--steps", steps]
    done = ant("train-classifier", *base, "--source-images", tiny_target, "--device", "cpu")
    assert done.code == 0
    assert says in done.err
    assert ("too alike" in done.err) == (steps > 1)


@pytest.fixture
def imagenet_16(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small pretrained classifier that counts as published for 16x16 images."""
    shape = EncoderShape(16, 1, (1, 2), attention=(8,), width=32, head_channels=16)
    monkeypatch.setitem(PUBLISHED, 16, shape)
    monkeypatch.setattr("antcli.training.classifier.VIEWS", 10)
    tensors = load_file(FIXTURES / "imagenet_classifier.safetensors").items()
    weights = {k.removeprefix("weights."): v.float() for k, v in tensors if "weights." in k}
    torch.save(weights, tmp_path / "16x16_classifier.pt")
    return tmp_path / "16x16_classifier.pt"


def test_a_pretrained_classifier_is_fine_tuned_and_used_by_a_run(
    ant: Callable,
    adapt: Callable,
    imagenet_16: Path,
    tiny_source: Path,
    tiny_target: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "classifier.safetensors"
    base = ["--source", tiny_source, "--target", tiny_target, "--out", out, "--steps", 1]
    base += ["--source-images", tiny_target, "--device", "cpu"]
    done = ant("train-classifier", *base, "--init", imagenet_16)
    assert done.code == 0, done.err
    told = load_metadata(out)
    assert told["ant.architecture"] == "imagenet"
    settings = json.loads(told["ant.config"])["classifier"]
    assert settings["init"] == str(imagenet_16)
    assert settings["learning_rate"] == 1e-4
    used = adapt("--method", "ant", "--classifier", out)
    assert used.code == 0, used.err


def test_what_cannot_be_gone_on_from_is_told_before_anything_is_done(
    ant: Callable, imagenet_16: Path, tiny_source: Path, tiny_target: Path, tmp_path: Path
) -> None:
    base = ["--target", tiny_target, "--out", tmp_path / "out.safetensors"]
    absent = ant("train-classifier", "--source", tiny_source, *base, "--init", "imagenet-64")
    assert absent.code == 1
    assert "imagenet-64 classifies 64x64, the source makes 16" in absent.err
    wrong = ant("train-classifier", "--source", "avatars", *base, "--init", imagenet_16)
    assert wrong.code == 1
    assert "classifies 16x16, the source makes 32" in wrong.err
    assert "sampling" not in wrong.err
    assert not (tmp_path / "out.safetensors").exists()


def test_a_classifier_s_place_is_checked_before_it_is_trained(
    ant: Callable, tiny_target: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for place, says in ((tmp_path, "is a folder"), (tmp_path / "file" / "c.st", "is no folder")):
        own = ["--source", "avatars", "--target", tiny_target, "--out", place, "--force"]
        done = ant("train-classifier", *own)
        assert (done.code, says in done.err) == (2, True), done.err
