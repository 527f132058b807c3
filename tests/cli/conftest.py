"""Running `ant` in this process, as a user types it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from adapted_runs import trained_run
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from antcli.cli.main import main

QUICK = """
[training]
steps = 4
batch_size = 4
[classifier]
steps = 6
batch_size = 8
source_samples = 10
sampling_steps = 2
[counterparts]
draws = 2
steps = 2
noise = 0.4
[preview]
images = 4
every = 2
sampling_steps = 2
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, results, remarks."""

    code: int
    out: str
    err: str


@pytest.fixture
def ant(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Type `ant` with these arguments."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings that make a run of seconds."""
    file = tmp_path_factory.mktemp("settings") / "quick.toml"
    file.write_text(QUICK)
    return file


@pytest.fixture
def adapt(
    ant: Callable[..., Outcome], tiny_source: Path, tiny_target: Path, quick: Path, tmp_path: Path
) -> Callable[..., Outcome]:
    """Type `ant adapt` with a tiny source and ten images into tmp_path/run."""

    def run(*more: object) -> Outcome:
        options = ["--target", tiny_target, "--out", tmp_path / "run", "--config", quick]
        precision = ["--mixed-precision", "no", "--device", "cpu"]
        return ant("adapt", "--source", tiny_source, *options, *precision, *more)

    return run


@pytest.fixture(scope="session")
def finished_run(
    tiny_source: Path, tiny_target: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run; copy it to change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return trained_run(tiny_source, tiny_target, quick, out)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run of the test's own."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def random_trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SqueezeNet trunk with random weights under torchvision's names."""
    file = tmp_path_factory.mktemp("trunk") / "squeeze.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(squeezenet1_1(weights=None).state_dict(), file)
    return file


@pytest.fixture
def classifier(
    ant: Callable[..., Outcome], tiny_source: Path, tiny_target: Path, tmp_path: Path
) -> Path:
    """A classifier of the tiny source's images and ten others."""
    out = tmp_path / "classifier.safetensors"
    base = ["--source", tiny_source, "--target", tiny_target, "--out", out, "--device", "cpu"]
    trained = ant("train-classifier", *base, "--steps", 1, "--source-images", tiny_target)
    assert trained.code == 0, trained.err
    return out
