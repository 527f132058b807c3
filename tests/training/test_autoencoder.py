"""Training the codec of a latent source."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, LDMPipeline
from torchvision.transforms.functional import pil_to_tensor

from antcli.config import TrainingConfig
from antcli.diffusion import examples
from antcli.drawn_faces.domains import avatar
from antcli.images.grid import to_float
from antcli.sources.codec import LatentCodec
from antcli.sources.source import find_source
from antcli.training import autoencoder, pretraining
from antcli.training.autoencoder import scale_of, small_autoencoder, train_autoencoder
from antcli.training.pretraining import latent_model, pretrain

CONFIG = TrainingConfig(steps=3, batch_size=4, learning_rate=1e-3, warmup_steps=0)
IMAGES = torch.stack([pil_to_tensor(avatar(seed, 16)[0]) for seed in range(6)])


def test_a_trained_autoencoder_gives_latents_of_unit_variance(
    tmp_path: Path, accelerator: Accelerator
) -> None:
    records = list(train_autoencoder(IMAGES, tmp_path, CONFIG, accelerator))
    assert [record.step for record in records] == [1, 2, 3]
    codec = LatentCodec(AutoencoderKL.from_pretrained(tmp_path))
    x_0 = codec.encode(to_float(IMAGES))
    assert x_0.shape == (6, 4, 4, 4)
    assert x_0.std().item() == pytest.approx(1, abs=1e-3)
    assert not (tmp_path / "state.safetensors").exists()


def test_training_that_was_cut_goes_on(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoencoder, "STATE_EVERY", 1)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    list(train_autoencoder(IMAGES, whole, CONFIG, accelerator))
    steps = train_autoencoder(IMAGES, cut, CONFIG, accelerator)
    next(steps)
    steps.close()
    assert [r.step for r in train_autoencoder(IMAGES, cut, CONFIG, accelerator)] == [2, 3]
    found, expected = (AutoencoderKL.from_pretrained(f).state_dict() for f in (cut, whole))
    torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=0)


def test_reconstructions_come_nearer(tmp_path: Path, accelerator: Accelerator) -> None:
    records = list(train_autoencoder(IMAGES, tmp_path, replace(CONFIG, steps=30), accelerator))
    assert records[-1].loss < 0.8 * records[0].loss


def test_a_latent_source_is_pretrained_and_found(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "LATENT_WIDTHS", (32, 32))
    codec = small_autoencoder()
    codec.register_to_config(scaling_factor=scale_of(codec, IMAGES))
    x_0 = LatentCodec(codec).encode(to_float(IMAGES))
    model = latent_model(codec, 4, seed=0)
    list(
        pretrain(
            examples.Latents(x_0), tmp_path, replace(CONFIG, flip=False), accelerator, model=model
        )
    )
    source = find_source(str(tmp_path))
    assert source.latent and source.size == 16 and source.shape == (4, 4, 4)
    again = source.codec().encode(to_float(IMAGES))
    torch.testing.assert_close(again, x_0, rtol=0, atol=0.02)  # fp16 lies between
    pipeline = LDMPipeline.from_pretrained(tmp_path)
    images = pipeline(num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 16, 16, 3)


def test_the_codec_is_small_and_sees_no_further_than_it_needs() -> None:
    with torch.device("meta"):
        codec = small_autoencoder()
    assert sum(p.numel() for p in codec.parameters()) < 1e6
    assert not [name for name, _ in codec.named_modules() if name.endswith("to_q")]
