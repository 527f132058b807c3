"""Classifiers that begin where a noisy ImageNet classifier ended."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from antcli.artifacts import load_metadata, load_tensors, save_tensors
from antcli.devices import make_accelerator
from antcli.diffusion.examples import Pixels
from antcli.diffusion.path import BetaPath
from antcli.errors import AntError
from antcli.methods.classifier import ClassifierConfig
from antcli.methods.imagenet_classifier import HEAD, PUBLISHED, EncoderShape, ImageNetClassifier
from antcli.training.classifier import ClassifierTraining
from antcli.training.classifier_files import check_classifier, load_classifier, save_classifier
from antcli.training.pretrained import (
    check_pretrained,
    find_pretrained,
    pretrained_classifier,
)

FIXTURE = Path(__file__).parents[1] / "methods" / "fixtures" / "imagenet_classifier.safetensors"
SHAPE = EncoderShape(16, depth=1, multipliers=(1, 2), attention=(8,), width=32, head_channels=16)
SIZE = 16
CPU = make_accelerator("cpu", "no")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier of the fixture, with ten classes, counts as published."""
    monkeypatch.setitem(PUBLISHED, SIZE, SHAPE)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    named = {k: v for k, v in load_file(FIXTURE).items() if k.startswith("weights.")}
    return {k.removeprefix("weights."): v.float() for k, v in named.items()}


@pytest.fixture
def file(weights: dict[str, Tensor], tmp_path: Path) -> Path:
    """As OpenAI publishes them: a pickled state dict."""
    path = tmp_path / "16x16_classifier.pt"
    torch.save(weights, path)
    return path


# --- loading -------------------------------------------------------------------------------


def test_all_but_the_head_is_taken_over(file: Path, weights: dict[str, Tensor]) -> None:
    classifier = pretrained_classifier(file, SIZE, seed=3, timesteps=500)
    state = classifier.state_dict()
    for name, tensor in weights.items():
        if not name.startswith(HEAD):
            torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)
    assert state[f"{HEAD}weight"].shape == (2, 64, 1)
    assert classifier.timesteps == 500
    logits = classifier(torch.randn(3, 3, SIZE, SIZE), torch.tensor([0, 250, 499]))
    assert logits.shape == (3, 2)


def test_the_head_follows_from_the_seed(file: Path) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        pretrained_classifier(file, SIZE, seed=seed).state_dict()[f"{HEAD}weight"]
        for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)


@pytest.mark.parametrize("size", [64, 256])
def test_a_known_name_is_downloaded_unless_it_is_there(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AntError, match=f"imagenet-{size}") as raised:
        find_pretrained(f"imagenet-{size}", size)
    assert "HF_HUB_OFFLINE" in f"{raised.value} {raised.value.hint}"
    file = tmp_path / "ant" / "downloads" / f"imagenet-{size}-{size}x{size}_classifier.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert find_pretrained(f"imagenet-{size}", size) == file
    with pytest.raises(AntError, match=f"classifies {size}x{size}, the source makes 32"):
        find_pretrained(f"imagenet-{size}", 32)


def test_an_unknown_name_is_refused(file: Path) -> None:
    assert find_pretrained(str(file), 64) == file
    with pytest.raises(AntError, match="no pretrained classifier imagenet-32") as raised:
        find_pretrained("imagenet-32", 32)
    assert "imagenet-64 and imagenet-256" in raised.value.hint


def test_another_size_is_refused_in_one_line(file: Path) -> None:
    check_pretrained(file, SIZE)
    for size in (32, 64, 256):
        with pytest.raises(AntError, match=f"classifies 16x16, the source makes {size}") as raised:
            pretrained_classifier(file, size)
        assert "`init`" in raised.value.hint
    with pytest.raises(AntError, match="maps of 3 channels, the source makes 4"):
        check_pretrained(file, SIZE, channels=4)


def test_what_is_no_such_classifier_is_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({k: v for k, v in weights.items() if k != "time_embed.0.bias"}, file)
    with pytest.raises(AntError, match=r"no noisy ImageNet .* time_embed\.0\.bias is missing"):
        check_pretrained(file, SIZE)
    file.write_bytes(b"half")
    with pytest.raises(AntError):
        check_pretrained(file, SIZE)


# --- training and files --------------------------------------------------------------------


def plain(level: int, count: int) -> Pixels:
    draw = torch.Generator().manual_seed(level)
    shape = (count, 3, SIZE, SIZE)
    return Pixels(torch.randint(level, level + 30, shape, dtype=torch.uint8, generator=draw))


@pytest.fixture
def trained(file: Path, monkeypatch: pytest.MonkeyPatch) -> ClassifierTraining:
    """Fine-tuned to tell black source images from white target images."""
    monkeypatch.setattr("antcli.training.classifier.VIEWS", 20)
    config = ClassifierConfig(steps=20, batch_size=8, learning_rate=1e-3)
    start = pretrained_classifier(file, SIZE)
    training = ClassifierTraining(
        plain(0, 10), plain(225, 5), BetaPath.linear(), config, CPU, classifier=start
    )
    losses = [record.loss for record in training.steps()]
    assert sum(losses[-10:]) / 10 < 0.5
    return training


def test_it_is_fine_tuned_calibrated_and_comes_back(
    trained: ClassifierTraining, tmp_path: Path
) -> None:
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, trained.classifier, {})
    loaded = load_classifier(path, SIZE)
    assert isinstance(loaded, ImageNetClassifier)
    assert loaded.shape == SHAPE
    torch.testing.assert_close(loaded.state_dict(), trained.classifier.state_dict(), rtol=0, atol=0)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    x_t = torch.stack([-torch.ones(3, SIZE, SIZE), torch.ones(3, SIZE, SIZE)])
    with torch.no_grad():
        assert loaded(x_t, torch.tensor([20, 20])).argmax(1).tolist() == [0, 1]
    with pytest.raises(AntError, match="classifies 16-pixel images"):
        check_classifier(path, 64)


@pytest.mark.parametrize(
    "change",
    [
        {"ant.timesteps": None},
        {"ant.timesteps": "many"},
        {"ant.encoder": None},
        {"ant.encoder": "{"},
        {"ant.encoder": "[]"},
        {"ant.encoder": '{"colour": 1}'},
        {"ant.architecture": "of another time", "ant.encoder": None},
    ],
)
def test_a_file_that_does_not_tell_what_it_holds_is_refused(
    change: dict[str, str | None], tmp_path: Path
) -> None:
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, ImageNetClassifier(SHAPE), {})
    told = {k: v for k, v in {**load_metadata(path), **change}.items() if v is not None}
    save_tensors(path, load_tensors(path), told)
    for refuse in (check_classifier, load_classifier):
        with pytest.raises(AntError, match="does not tell what classifier") as raised:
            refuse(path, SIZE)
        assert "train-classifier" in raised.value.hint


def test_a_batch_in_parts_gives_the_same_gradient(file: Path) -> None:
    """Large images go through the classifier a few at a time."""
    gradients = []
    for at_once in (8, 3):
        training = ClassifierTraining(
            plain(0, 10),
            plain(225, 5),
            BetaPath.linear(),
            replace(ClassifierConfig(), batch_size=8),
            CPU,
            classifier=pretrained_classifier(file, SIZE),
        )
        training.at_once = at_once
        loss = training._backward(*training._batch(0))
        parameters = training.classifier.parameters()
        gradients.append((loss, [p.grad for p in parameters if p.grad is not None]))
    assert gradients[1][0] == pytest.approx(gradients[0][0], rel=1e-5)
    torch.testing.assert_close(gradients[1][1], gradients[0][1], rtol=1e-4, atol=1e-6)
