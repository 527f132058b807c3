"""Scores of networks on the same noise."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from source_kinds import write_kind
from torch import Tensor, nn

from antcli.config import ConditionConfig
from antcli.evaluation import scoring
from antcli.evaluation.scoring import Scorer
from antcli.images.folder import read_folder
from antcli.images.grid import to_float
from antcli.methods.trainable.denoiser import Denoiser
from antcli.sources.source import Source, find_source


class Painter(nn.Module):
    """Predicts the noise that leads to given images, whatever it is shown."""

    def __init__(self, source: Source, images: Tensor) -> None:
        super().__init__()
        self.path, self.x_0 = source.path, to_float(images)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.path.to_eps(self.x_0[: len(x_t)], x_t, t, "sample")


@pytest.fixture
def source(tiny_source: Path) -> Source:
    return find_source(str(tiny_source))


@pytest.fixture
def target(tiny_target: Path, source: Source) -> Tensor:
    return read_folder(tiny_target, source.size).images


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SAMPLES", 10)
    monkeypatch.setattr(scoring, "SAMPLING_STEPS", 3)


def test_the_source_scores_as_itself(
    source: Source, target: Tensor, accelerator: Accelerator
) -> None:
    scorer = Scorer(source, target, accelerator)
    found = scorer.score(Denoiser(source.load()), 7)
    assert found.step == 7
    assert (found.distance, found.copied) == (scorer.unadapted.distance, scorer.unadapted.copied)
    assert found.diversity == scorer.unadapted.diversity == 1.0
    assert scorer.unadapted.step == 0


@pytest.mark.parametrize("kind", ["ldm-kl", "class-conditional"])
def test_other_kinds_of_sources_score_as_themselves(
    kind: str, tmp_path: Path, tiny_target: Path, accelerator: Accelerator
) -> None:
    asked = ConditionConfig(class_label=1 if kind == "class-conditional" else -1)
    source = find_source(str(write_kind(kind, tmp_path / kind))).conditioned(asked)
    target = read_folder(tiny_target, source.size).images
    scorer = Scorer(source, target, accelerator)
    found = scorer.score(Denoiser(source.load(), source.convention), 7)
    assert (found.distance, found.diversity) == (scorer.unadapted.distance, 1.0)


def test_copies_of_the_target_are_near_and_called_copies(
    source: Source, target: Tensor, accelerator: Accelerator
) -> None:
    scorer = Scorer(source, target, accelerator)
    found = scorer.score(Painter(source, target), 1)  # type: ignore[arg-type]
    assert found.copied == 1.0
    assert found.distance < scorer.unadapted.distance
    mirrored = scorer.score(Painter(source, target.flip(-1)), 1)  # type: ignore[arg-type]
    assert mirrored.copied == 1.0


def test_one_image_over_and_over_has_no_diversity(
    source: Source, target: Tensor, accelerator: Accelerator
) -> None:
    scorer = Scorer(source, target, accelerator)
    same = target[:1].expand(len(target), -1, -1, -1)
    found = scorer.score(Painter(source, same), 1)  # type: ignore[arg-type]
    assert found.diversity == pytest.approx(0, abs=1e-4)
    assert torch.isfinite(torch.tensor(found.distance))


def test_a_network_that_broke_has_a_score_of_numbers(
    source: Source, target: Tensor, accelerator: Accelerator
) -> None:
    scorer = Scorer(source, target, accelerator)
    network = Denoiser(source.load(), source.convention)
    with torch.no_grad():
        next(iter(network.unet.parameters())).fill_(torch.nan)
    found = scorer.score(network, 7)
    assert torch.tensor([found.distance, found.diversity, found.copied]).isfinite().all()
    assert found.diversity == pytest.approx(0, abs=1e-4), "its samples are all the same"
