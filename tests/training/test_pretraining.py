from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from diffusers import DDPMPipeline

from antcli.artifacts import load_tensors
from antcli.config import TrainingConfig
from antcli.diffusion.examples import Pixels
from antcli.diffusion.path import BetaPath
from antcli.methods.choice import Step
from antcli.sources.source import find_source
from antcli.training import pretraining
from antcli.training.loop import Training
from antcli.training.pretraining import PRETRAINING, pretrain, small_unet

CONFIG = TrainingConfig(steps=3, batch_size=2, learning_rate=1e-3, warmup_steps=0)
IMAGES = Pixels(torch.arange(6 * 3 * 8 * 8).remainder(256).to(torch.uint8).view(6, 3, 8, 8))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest network of the same make."""

    def smaller(size: int, seed: int, columns: int) -> object:
        return small_unet(size, channels=(32, 32), seed=seed, columns=columns)

    monkeypatch.setattr(pretraining, "small_unet", smaller)


def test_a_pretrained_source_is_whole(tmp_path: Path, accelerator: Accelerator) -> None:
    records = list(pretrain(IMAGES, tmp_path, CONFIG, accelerator))
    assert [record.step for record in records] == [1, 2, 3]
    source = find_source(str(tmp_path))
    assert source.size == 8
    torch.testing.assert_close(source.path.betas, BetaPath.linear().betas, rtol=1e-4, atol=0)
    pipeline = DDPMPipeline.from_pretrained(tmp_path)
    images = pipeline(num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 8, 8, 3)


def test_pretraining_that_was_cut_goes_on(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "STATE_EVERY", 1)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    list(pretrain(IMAGES, whole, CONFIG, accelerator))
    steps = pretrain(IMAGES, cut, CONFIG, accelerator)
    next(steps)
    steps.close()
    assert [r.step for r in pretrain(IMAGES, cut, CONFIG, accelerator)] == [2, 3]
    found, expected = (find_source(str(f)).load().state_dict() for f in (cut, whole))
    torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=0)


def test_what_is_written_is_the_average(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "STATE_EVERY", 3)
    steps = pretrain(IMAGES, tmp_path, replace(CONFIG, learning_rate=0.1), accelerator)
    for _ in range(3):
        next(steps)
    state = load_tensors(tmp_path / "state.safetensors")
    assert list(steps) == []
    assert not (tmp_path / "state.safetensors").exists()
    for name, written in find_source(str(tmp_path)).load().state_dict().items():
        average = state[f"average/unet.{name}"]
        torch.testing.assert_close(written, average.half().float(), rtol=0, atol=0)
        assert not torch.equal(average, state[f"weights/unet.{name}"])


def test_a_network_is_told_of_its_own_images_in_columns(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every part of every batch; and what it makes of them trains with the rest."""
    columns = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    model = pretraining.pixel_model(8, 0, columns=4)
    before = {name: value.clone() for name, value in model.unet.state_dict().items()}
    told: list[torch.Tensor] = []
    model.unet.class_embedding.register_forward_pre_hook(lambda _, given: told.append(given[0]))
    drawn: list[torch.Tensor] = []
    draw = Training._draw

    def watched(training: Training) -> list[Step]:
        steps = draw(training)
        drawn.extend(step.images for step in steps)
        return steps

    monkeypatch.setattr(Training, "_draw", watched)
    config = replace(CONFIG, batch_size=3, micro_batch=2, flip=False)
    list(pretrain(IMAGES, tmp_path, config, accelerator, 0, model, columns))
    assert [len(images) for images in drawn] == [2, 1] * 3
    for images, columns_told in zip(drawn, told, strict=True):
        torch.testing.assert_close(columns_told, columns[images])
    source = find_source(str(tmp_path))
    assert source.unet_config["columns"] == 4
    weight = "class_embedding.linear_1.weight"
    assert not torch.equal(source.load().state_dict()[weight], before[weight])


def test_the_shipped_network_has_two_to_five_million_parameters() -> None:
    with torch.device("meta"):
        unet = small_unet()
    assert 2e6 < sum(p.numel() for p in unet.parameters()) < 5e6
    assert PRETRAINING.ema_decay > 0.99
