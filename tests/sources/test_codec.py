"""Codecs against the autoencoders of diffusers, scaled as its pipelines scale them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, LDMPipeline
from source_kinds import kl, tiny, unet, vq

from antcli.diffusion import sampling
from antcli.errors import AntError, AntWarning
from antcli.sources.codec import LatentCodec, find_autoencoder

AUTOENCODERS: dict[str, Callable[[], Any]] = {
    "vq": vq,
    "kl": kl,
    "kl shifted": lambda: kl(shift_factor=0.3, scaling_factor=0.4),
    "tiny": tiny,
}
IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", AUTOENCODERS)
@torch.no_grad()
def test_latents_are_scaled_as_the_config_says(name: str) -> None:
    autoencoder = AUTOENCODERS[name]()
    scale = autoencoder.config.scaling_factor
    shift = autoencoder.config.get("shift_factor") or 0.0
    encoded = autoencoder.encode(IMAGES)
    z = encoded.latent_dist.mean if name.startswith("kl") else encoded.latents
    codec = LatentCodec(autoencoder)
    x_0 = codec.encode(IMAGES)
    assert x_0.shape == (3, z.shape[1], 8, 8)
    torch.testing.assert_close(x_0, (z - shift) * scale)
    torch.testing.assert_close(codec.decode(x_0), autoencoder.decode(z).sample)
    assert codec.decode(x_0).shape == IMAGES.shape
    torch.testing.assert_close(codec.encode(IMAGES), x_0, rtol=0, atol=0)


def test_what_a_latent_pipeline_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = LDMPipeline(vq(), unet(), DDIMScheduler(clip_sample=False))
    pipeline.set_progress_bar_config(disable=True)
    step, seen = pipeline.scheduler.step, []

    def watched(*args: Any, **more: Any) -> Any:
        seen.append(step(*args, **more))
        return seen[-1]

    monkeypatch.setattr(pipeline.scheduler, "step", watched)
    expected = pipeline(batch_size=2, num_inference_steps=2, output_type="np").images
    found = LatentCodec(pipeline.vqvae).decode(seen[-1].prev_sample)
    found = (found / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, torch.from_numpy(expected))


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_in_parts_as_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = LatentCodec(AUTOENCODERS[name]())
    x_0 = codec.encode(IMAGES)
    whole = codec.decode(x_0)
    calls: list[int] = []
    decode = codec._autoencoder.decode
    monkeypatch.setattr(sampling, "PIXELS_AT_ONCE", 2 * 16 * 16)
    codec._autoencoder.decode = lambda z: calls.append(len(z)) or decode(z)
    torch.testing.assert_close(codec.decode(x_0), whole)
    torch.testing.assert_close(codec.encode(IMAGES), x_0)
    assert calls == [2, 1]


@pytest.mark.parametrize("folder", ["vae", "vqvae"])
@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_config_tells_the_shape_of_latents(name: str, folder: str, tmp_path: Path) -> None:
    autoencoder = AUTOENCODERS[name]()
    autoencoder.save_pretrained(tmp_path / folder)
    found = find_autoencoder(tmp_path, "mine")
    assert found is not None
    codec = found.load()
    torch.testing.assert_close(codec.encode(IMAGES), LatentCodec(autoencoder).encode(IMAGES))
    assert codec.encode(IMAGES).shape[1:] == (
        found.channels,
        16 // found.factor,
        16 // found.factor,
    )
    assert not any(p.requires_grad for p in codec._autoencoder.parameters())


def without_scale(folder: Path) -> Path:
    """As old versions of diffusers wrote a VQModel, CompVis/ldm-celebahq-256's among them."""
    config = folder / "config.json"
    told = json.loads(config.read_text())
    del told["scaling_factor"]
    config.write_text(json.dumps(told))
    return folder


def test_a_vq_model_that_states_no_scale_has_that_of_compvis(tmp_path: Path) -> None:
    autoencoder = vq()
    autoencoder.save_pretrained(tmp_path / "vqvae")
    without_scale(tmp_path / "vqvae")
    with pytest.warns(AntWarning, match=r"source mine states no scaling_factor: 1\.0 is taken"):
        found = find_autoencoder(tmp_path, "mine")
    assert found is not None
    z = autoencoder.encode(IMAGES).latents
    torch.testing.assert_close(found.load().encode(IMAGES), z)
    torch.testing.assert_close(found.load().decode(z), autoencoder.decode(z).sample)


def test_a_scale_that_is_known_counts_and_needs_no_words(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    autoencoder = vq()
    autoencoder.save_pretrained(tmp_path / "vqvae")
    without_scale(tmp_path / "vqvae")
    found = find_autoencoder(tmp_path, "mine", 2.0)
    assert found is not None
    assert found.load().scale == 2.0
    assert not [warning for warning in recwarn if warning.category is AntWarning]


def test_other_autoencoders_keep_the_scale_that_diffusers_gives_them(tmp_path: Path) -> None:
    kl().save_pretrained(tmp_path / "vae")
    without_scale(tmp_path / "vae")
    found = find_autoencoder(tmp_path, "mine")
    assert found is not None
    assert found.load().scale == 0.18215


@pytest.mark.parametrize(("spread", "warned"), [(0.18, 1), (0.5, 0), (1, 0), (2, 0), (5.5, 1)])
def test_latents_far_from_unit_scale_are_told_once(
    spread: float, warned: int, recwarn: pytest.WarningsRecorder
) -> None:
    autoencoder = vq()
    z = autoencoder.encode(IMAGES).latents
    autoencoder.register_to_config(scaling_factor=spread / z.std().item())
    codec = LatentCodec(autoencoder)
    for _ in range(2):
        codec.encode(IMAGES)
    told = [str(w.message) for w in recwarn if w.category is AntWarning]
    assert len(told) == warned
    assert all(f"deviation of {spread:.1g}" in message for message in told)


def test_an_unknown_autoencoder(tmp_path: Path) -> None:
    assert find_autoencoder(tmp_path, "mine") is None
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps({"_class_name": "AutoencoderDC"}))
    with pytest.raises(AntError, match="AutoencoderDC in vae") as raised:
        find_autoencoder(tmp_path, "mine")
    assert "AutoencoderKL" in raised.value.hint
