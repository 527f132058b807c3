import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, LDMPipeline, UNet2DModel
from safetensors.torch import load_file, save_file
from source_kinds import write_kind
from torch import Tensor

from antcli.diffusion.sampler import Sampler
from antcli.errors import AntError, AntWarning
from antcli.sources import source as source_module
from antcli.sources.sampler import usual_sampler
from antcli.sources.source import find_source
from antcli.sources.writing import write_like

WEIGHTS = "diffusion_pytorch_model.safetensors"
NAMES_OF_OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
MakeUnet = Callable[..., UNet2DModel]


@pytest.fixture
def source(tiny_source: Path, tmp_path: Path) -> Path:
    """A source of the test's own, to damage."""
    return Path(shutil.copytree(tiny_source, tmp_path / "mine"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refusal(folder: Path) -> AntError:
    with pytest.raises(AntError) as raised:
        find_source(str(folder))
    assert raised.value.hint
    return raised.value


# --- what a source tells -------------------------------------------------------------------


def test_a_pipeline_folder(tiny_source: Path) -> None:
    source = find_source(str(tiny_source))
    assert source.name == str(tiny_source)
    assert (source.size, source.shape) == (16, (3, 16, 16))
    assert source.weights == tiny_source / "unet" / WEIGHTS
    assert source.sha256 == hashlib.sha256(source.weights.read_bytes()).hexdigest()


def test_the_schedule_is_that_of_its_scheduler(make_unet: MakeUnet, tmp_path: Path) -> None:
    for settings in (
        {"beta_start": 1e-3, "beta_end": 0.01, "num_train_timesteps": 100},
        {"beta_schedule": "squaredcos_cap_v2"},
    ):
        scheduler = DDPMScheduler(**settings)
        folder = tmp_path / str(len(settings))
        DDPMPipeline(make_unet(), scheduler).save_pretrained(folder)
        path = find_source(str(folder)).path
        assert path.betas.dtype == torch.float64
        torch.testing.assert_close(path.betas, scheduler.betas.double())
        alpha, _ = path.alpha_sigma(torch.arange(path.span), torch.empty(1))
        torch.testing.assert_close(alpha.square(), scheduler.alphas_cumprod)


@pytest.mark.parametrize("place", ["unet", "root"])
@pytest.mark.parametrize("name", [WEIGHTS, "diffusion_pytorch_model.bin"])
def test_weights_load_as_diffusers_loads_them(
    place: str, name: str, make_unet: MakeUnet, tmp_path: Path
) -> None:
    unet, safe = make_unet(), name == WEIGHTS
    if place == "unet":
        DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path, safe_serialization=safe)
    else:
        unet.save_pretrained(tmp_path, safe_serialization=safe)
        DDPMScheduler().save_pretrained(tmp_path)
    source = find_source(str(tmp_path))
    assert source.weights.name == name
    loaded = source.load()
    torch.testing.assert_close(loaded.state_dict(), unet.state_dict(), rtol=0, atol=0)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert source.load() is not loaded


def test_half_precision_loads_as_float32(tiny_source: Path) -> None:
    stored = load_file(tiny_source / "unet" / WEIGHTS)
    assert {w.dtype for w in stored.values()} == {torch.float16}
    loaded = find_source(str(tiny_source)).load()
    assert loaded.dtype == torch.float32
    expected = {name: w.float() for name, w in stored.items()}
    torch.testing.assert_close(dict(loaded.state_dict()), expected, rtol=0, atol=0)


def test_diffusers_opens_what_the_program_writes(tiny_source: Path) -> None:
    pipeline = DDPMPipeline.from_pretrained(tiny_source)
    torch.testing.assert_close(
        dict(pipeline.unet.float().state_dict()),
        dict(find_source(str(tiny_source)).load().state_dict()),
    )


@pytest.mark.parametrize("name", ["avatars", "avatars-64"])
def test_drawn_faces_take_no_steps_that_bring_them_no_nearer(name: str) -> None:
    source, asked = find_source(name), []

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(t)
        return x_t

    list(source.sample(predict, [0]))
    assert len(asked) == 15
    assert usual_sampler(name) == source.sampler


def test_other_sources_take_the_usual_steps(tiny_source: Path) -> None:
    assert find_source(str(tiny_source)).sampler == Sampler(steps=25)
    assert usual_sampler("ffhq") == Sampler(steps=25)


# --- what is refused -----------------------------------------------------------------------


def test_an_unknown_name() -> None:
    with pytest.raises(AntError, match="there is no source 'avatrs'") as raised:
        find_source("avatrs")
    assert "avatars" in raised.value.hint


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_weights_cut_short(source: Path, kept: float) -> None:
    path = source / "unet" / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    error = refusal(source)
    assert "not a whole safetensors file" in error.message
    assert str(path) in error.message


@pytest.mark.parametrize("file", ["unet/config.json", "scheduler/scheduler_config.json"])
def test_a_config_that_is_missing_or_damaged(source: Path, file: str) -> None:
    (source / file).write_text("{")
    assert "no valid JSON" in refusal(source).message
    (source / file).write_text("[]")
    assert "no valid JSON" in refusal(source).message
    (source / file).unlink()
    error = refusal(source)
    assert Path(file).name in error.message
    assert "is missing" in error.message


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("")
    error = refusal(tmp_path)
    assert "no diffusers folder" in error.message
    assert "ant fetch-source" in error.hint


def test_no_weights(source: Path) -> None:
    (source / "unet" / WEIGHTS).unlink()
    error = refusal(source)
    assert "has no weights" in error.message
    assert WEIGHTS in error.hint


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("unet/config.json", {"_class_name": "DiTTransformer2DModel"}, "a DiTTransformer2DModel"),
        ("unet/config.json", {"_class_name": None}, "not a UNet2DModel"),
        ("unet/config.json", {"in_channels": 4}, "RGB images have three"),
        ("unet/config.json", {"out_channels": 4}, "takes 3 channels and gives 4"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "class_embed_type is timestep"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "more than a class or a text"),
        ("unet/config.json", {"sample_size": None}, "sample_size"),
        ("unet/config.json", {"sample_size": [16, 32]}, "sample_size"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "predicts flow"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "zero_snr"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "cubic"}, "not known: cubic"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "ScoreSdeVeScheduler", "beta_start": None},
            "ScoreSdeVeScheduler",
        ),
    ],
)
def test_kinds_that_cannot_be_adapted(
    source: Path, file: str, values: dict[str, Any], message: str
) -> None:
    change(source / file, **values)
    assert message in refusal(source).message


def test_latents_of_another_width_than_the_autoencoder(tmp_path: Path) -> None:
    folder = write_kind("ldm-kl", tmp_path / "ldm")
    change(folder / "unet" / "config.json", in_channels=9)
    error = refusal(folder)
    assert "takes 9 channels and gives 4: its autoencoder has 4" in error.message


@pytest.mark.parametrize("kind", ["ldm", "ldm-kl", "ldm-tiny"])
def test_a_latent_source(kind: str, tmp_path: Path) -> None:
    source = find_source(str(write_kind(kind, tmp_path / kind)))
    assert source.latent
    assert (source.size, source.shape) == (16, (3 if kind == "ldm" else 4, 8, 8))
    before = source.sha256
    assert source.autoencoder is not None
    weights = source.autoencoder.weights
    tensors = load_file(weights)
    save_file({name: w + 1 for name, w in tensors.items()}, weights, metadata={"format": "pt"})
    assert find_source(str(tmp_path / kind)).sha256 != before


def test_the_catalogue_states_the_scale_of_celebahq_ldm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its repository does not, and diffusers' default is another."""
    folder = write_kind("ldm", tmp_path / "ldm")
    change(folder / "vqvae" / "config.json", scaling_factor=0.18215)
    monkeypatch.setattr(source_module, "locate", lambda _: folder)
    assert find_source("celebahq-ldm").codec().scale == 1.0
    assert find_source(str(folder)).codec().scale == 0.18215


def test_a_written_copy_states_the_scale(tmp_path: Path) -> None:
    folder = write_kind("ldm", tmp_path / "ldm")
    change(folder / "vqvae" / "config.json", scaling_factor=None)
    with pytest.warns(AntWarning):
        source = find_source(str(folder))
    write_like(source, tmp_path / "copy", source.load())
    assert LDMPipeline.from_pretrained(tmp_path / "copy").vqvae.config.scaling_factor == 1.0


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "PNDMScheduler", "DDPMScheduler"])
def test_other_schedulers_of_the_same_process_are_taken(source: Path, scheduler: str) -> None:
    change(source / "scheduler" / "scheduler_config.json", _class_name=scheduler)
    assert find_source(str(source)).path.span == 1000


def test_weights_of_another_model(source: Path) -> None:
    change(source / "unet" / "config.json", block_out_channels=[16, 48])
    with pytest.raises(AntError, match="another model"):
        find_source(str(source)).load()


def test_weights_that_lack_a_tensor(source: Path) -> None:
    path = source / "unet" / WEIGHTS
    tensors = load_file(path)
    del tensors["conv_out.bias"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(AntError, match=r"another model .*conv_out\.bias"):
        find_source(str(source)).load()


def test_weights_under_their_old_names_are_taken(source: Path) -> None:
    """Attention weights of early releases, the published DDPMs among them."""
    path = source / "unet" / WEIGHTS
    expected, tensors = load_file(path), {}
    for name, tensor in expected.items():
        for new, old in NAMES_OF_OLD.items():
            name = name.replace(f".{new}.", f".{old}.")
        tensors[name] = tensor
    assert tensors.keys() != expected.keys()
    save_file(tensors, path, metadata={"format": "pt"})
    loaded = find_source(str(source)).load().state_dict()
    torch.testing.assert_close(
        dict(loaded), {name: w.float() for name, w in expected.items()}, rtol=0, atol=0
    )


def test_a_pickle_cut_short(make_unet: MakeUnet, tmp_path: Path) -> None:
    DDPMPipeline(make_unet(), DDPMScheduler()).save_pretrained(tmp_path, safe_serialization=False)
    path = tmp_path / "unet" / "diffusion_pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(AntError, match="cannot be loaded"):
        find_source(str(tmp_path)).load()
