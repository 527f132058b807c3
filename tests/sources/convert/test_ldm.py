"""Latent diffusion of CompVis: the converted parts give the numbers of the original code."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import LDMPipeline, UNet2DModel
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from antcli.errors import AntError
from antcli.sources.convert import convert, ldm
from antcli.sources.networks import NETWORKS, UNet2DModelOfEqualHeads
from antcli.sources.source import find_source

FOLDER = Path(__file__).parents[1] / "fixtures"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@dataclass(frozen=True)
class Original:
    """A model of the original code, and what it made of some inputs."""

    architecture: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def weights(self) -> dict[str, Tensor]:
        named = {k: v for k, v in self.tensors.items() if k.startswith("weights.")}
        return {
            k.removeprefix("weights."): v.float() if v.dtype == torch.float8_e4m3fn else v
            for k, v in named.items()
        }

    def unet(self, **options: Any) -> dict[str, Any]:
        """The architecture with other options of its U-Net."""
        unet = self.architecture["unet_config"] | options
        return self.architecture | {
            "unet_config": {k: v for k, v in unet.items() if v is not None},
        }


def read(name: str) -> Original:
    file = FOLDER / f"ldm_{name}.safetensors"
    with safe_open(file, framework="pt") as opened:
        architecture = json.loads(opened.metadata()["architecture"])
    return Original(architecture, load_file(file))


@pytest.fixture(scope="module")
def vq() -> Original:
    """As FFHQ: heads of equal width, averages; a VQ autoencoder."""
    return read("vq")


@pytest.fixture(scope="module")
def kl() -> Original:
    """As LSUN churches: equally many heads, latents measured and scaled; a KL autoencoder."""
    return read("kl")


@pytest.fixture(params=["vq", "kl"])
def either(request: pytest.FixtureRequest) -> Original:
    original: Original = request.getfixturevalue(request.param)
    return original


@pytest.fixture
def converted(tmp_path: Path) -> Callable[..., LDMPipeline]:
    """Converts a checkpoint as Lightning writes it, and opens the result in one line."""

    def open_(weights: dict[str, Tensor], architecture: dict[str, Any]) -> LDMPipeline:
        out = tmp_path / "out"
        torch.save({"state_dict": weights, "global_step": 7}, tmp_path / "model.ckpt")
        convert(tmp_path / "model.ckpt", "ldm", out, architecture)
        pipeline = LDMPipeline.from_pretrained(out)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return open_


@torch.no_grad()
def output(original: Original, weights: dict[str, Tensor], architecture: dict[str, Any]) -> Tensor:
    """Of the converted U-Net on the fixture's inputs, no file written."""
    part = ldm.pipeline(weights, architecture).parts["unet"]
    unet = NETWORKS[part.kind].from_config(part.config)
    unet.load_state_dict(part.weights)
    return unet.eval()(original.tensors["x"], original.tensors["t"]).sample


# --- numbers -------------------------------------------------------------------------------


@torch.no_grad()
def test_the_unet_gives_the_numbers_of_the_original(
    either: Original, converted: Callable[..., LDMPipeline]
) -> None:
    unet = converted(either.weights, either.architecture).unet
    expected = either.tensors["output"]
    assert expected.std() > 0.3  # so that a wrong number is a large one
    torch.testing.assert_close(
        unet(either.tensors["x"], either.tensors["t"]).sample, expected, **CLOSE
    )


@torch.no_grad()
def test_the_autoencoder_gives_the_numbers_of_the_original(
    either: Original, converted: Callable[..., LDMPipeline]
) -> None:
    tensors, autoencoder = either.tensors, converted(either.weights, either.architecture).vqvae
    scale = autoencoder.config.scaling_factor
    encoded = autoencoder.encode(tensors["image"])
    if "latents" in encoded:
        moments = latents = encoded.latents
    else:
        moments, latents = encoded.latent_dist.parameters, encoded.latent_dist.mode()
    torch.testing.assert_close(moments, tensors["moments"], **CLOSE)
    torch.testing.assert_close(scale * latents, tensors["latents"], **CLOSE)
    decoded = autoencoder.decode(tensors["x"][:2] / scale).sample
    assert tensors["decoded"].std() > 0.3
    torch.testing.assert_close(decoded, tensors["decoded"], **CLOSE)


@torch.no_grad()
def test_the_vq_decoder_quantises(vq: Original, converted: Callable[..., LDMPipeline]) -> None:
    autoencoder = converted(vq.weights, vq.architecture).vqvae
    z = vq.tensors["x"][:2]
    unquantised = autoencoder.decode(z, force_not_quantize=True).sample
    assert (unquantised - vq.tensors["decoded"]).abs().max() > 0.05


def test_the_pipeline_samples_what_the_original_samples(
    either: Original, converted: Callable[..., LDMPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five steps of DDIM, from the same noise."""
    pipeline = converted(either.weights, either.architecture)
    module = diffusers.pipelines.deprecated.latent_diffusion_uncond
    place = module.pipeline_latent_diffusion_uncond
    monkeypatch.setattr(place, "randn_tensor", lambda *_, **__: either.tensors["x"])
    seen = []
    decode = pipeline.vqvae.decode
    monkeypatch.setattr(pipeline.vqvae, "decode", lambda z: seen.append(z) or decode(z))
    images = pipeline(num_inference_steps=5, output_type="np").images
    assert images.std() > 0
    latents = seen[0] * pipeline.vqvae.config.scaling_factor
    torch.testing.assert_close(latents, either.tensors["sampled"], rtol=1e-4, atol=1e-4)


def test_the_schedule_is_that_of_the_checkpoint(
    either: Original, converted: Callable[..., LDMPipeline]
) -> None:
    scheduler = converted(either.weights, {**either.architecture, "linear_start": 0.0015}).scheduler
    torch.testing.assert_close(scheduler.betas, either.weights["betas"])
    expected = either.weights["alphas_cumprod"]
    torch.testing.assert_close(scheduler.alphas_cumprod, expected)


@torch.no_grad()
def test_the_folder_is_a_source(
    either: Original, converted: Callable[..., LDMPipeline], tmp_path: Path
) -> None:
    converted(either.weights, either.architecture)
    source = find_source(str(tmp_path / "out"))
    tensors = either.tensors
    assert source.shape == tuple(tensors["x"].shape[1:])
    assert source.size == tensors["image"].shape[-1]
    output = source.load()(tensors["x"], tensors["t"]).sample
    torch.testing.assert_close(output, tensors["output"], **CLOSE)
    codec = source.codec("cpu")
    torch.testing.assert_close(codec.encode(tensors["image"]), tensors["latents"], **CLOSE)
    torch.testing.assert_close(codec.decode(tensors["x"][:2]), tensors["decoded"], **CLOSE)


# --- what loads and is wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("vq", {"num_head_channels": 32}),
        ("vq", {"use_new_attention_order": True}),
        ("vq", {"num_head_channels": None, "num_heads": 2}),
        ("kl", {"num_heads": 4}),
        ("kl", {"num_heads": None, "num_head_channels": 8}),
        ("kl", {"use_new_attention_order": True}),
    ],
)
def test_wrong_attention_loads_and_gives_other_numbers(
    name: str, wrong: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """So the comparison of the numbers can fail, and nothing but numbers would tell."""
    original: Original = request.getfixturevalue(name)
    expected = original.tensors["output"]
    right = output(original, original.weights, original.architecture)
    torch.testing.assert_close(right, expected, **CLOSE)
    other = output(original, original.weights, original.unet(**wrong))
    assert (other - expected).abs().max() > 0.05


def test_the_averages_are_taken_and_not_the_last_step(vq: Original) -> None:
    stepped = {k: v for k, v in vq.weights.items() if not k.startswith("model_ema.")}
    assert len(stepped) < len(vq.weights)
    other = output(vq, stepped, vq.architecture)
    assert (other - vq.tensors["output"]).abs().max() > 0.05


@torch.no_grad()
def test_diffusers_own_class_refuses_equally_many_heads(
    kl: Original, converted: Callable[..., LDMPipeline], tmp_path: Path
) -> None:
    """Rather than count them otherwise."""
    unet = converted(kl.weights, kl.architecture).unet
    assert isinstance(unet, UNet2DModelOfEqualHeads)
    unet.save_pretrained(tmp_path / "again")
    again = UNet2DModelOfEqualHeads.from_pretrained(tmp_path / "again")
    assert again.config.attention_head_dim == [4, 8]
    x, t = kl.tensors["x"], kl.tensors["t"]
    torch.testing.assert_close(again(x, t).sample, kl.tensors["output"], **CLOSE)
    with pytest.raises(TypeError):
        UNet2DModel.from_pretrained(tmp_path / "again")


# --- the published models ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "parameters", "autoencoder_parameters"),
    [
        ("ffhq-ldm", "UNet2DModel", 274_056_163, 55_322_782),
        ("church-ldm", "UNet2DModelOfEqualHeads", 294_966_916, 83_653_863),
    ],
)
def test_a_published_model_converts_whole(
    name: str, kind: str, parameters: int, autoencoder_parameters: int
) -> None:
    published = json.loads((FOLDER / "ldm_shapes.json").read_text())[name]
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in published["weights"].items()}
        scale = {"scale_factor": torch.tensor(0.5, device="cpu")} if name == "church-ldm" else {}
        pipeline = ldm.pipeline(state | scale, published["architecture"])
        for part, expected in (("unet", parameters), ("vqvae", autoencoder_parameters)):
            made = pipeline.parts[part]
            model = NETWORKS.get(made.kind) or getattr(diffusers, made.kind)
            built = model.from_config(made.config)
            shapes = {key: weight.shape for key, weight in built.state_dict().items()}
            assert {key: weight.shape for key, weight in made.weights.items()} == shapes
            assert sum(weight.numel() for weight in built.parameters()) == expected
    assert pipeline.parts["unet"].kind == kind
    bare = ldm.pipeline(state | scale, {})
    for part in ("unet", "vqvae"):
        assert bare.parts[part].config == pipeline.parts[part].config


def test_the_config_is_that_of_compvis_ldm_celebahq_256() -> None:
    """The one that the authors converted themselves."""
    published = json.loads((FOLDER / "ldm_shapes.json").read_text())["ffhq-ldm"]
    state = {k: torch.empty(shape, device="meta") for k, shape in published["weights"].items()}
    parts = ldm.pipeline(state, {}).parts
    unet = {
        "sample_size": 64,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [224, 448, 672, 896],
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3],
        "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"],
        "attention_head_dim": 32,
        "norm_eps": 1e-5,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
    }
    assert {name: parts["unet"].config[name] for name in unet} == unet
    vqvae = {
        "block_out_channels": [128, 256, 512],
        "layers_per_block": 2,
        "latent_channels": 3,
        "num_vq_embeddings": 8192,
        "sample_size": 256,
        "scaling_factor": 1.0,
    }
    assert {name: parts["vqvae"].config[name] for name in vqvae} == vqvae
    assert parts["scheduler"].config["beta_end"] == 0.0195


# --- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        ({"cond_stage_model.embedding.weight": torch.zeros(1)}, {}, "wants a condition"),
        ({"betas": torch.linspace(1e-4, 0.02, 50)}, {}, "does not follow latent-diffusion's"),
        ({"model_ema.diffusion_modelout2bias": None}, {}, "has no model_ema.diffusion_modelout2"),
        ({"first_stage_model.encoder.conv_in.weight": None}, {}, "has no encoder.conv_in.weight"),
        ({"first_stage_model.odd.weight": torch.zeros(1)}, {}, "odd.weight has no place"),
        ({}, {"linear_end": 0.0155}, "linear_end 0.0195, not 0.0155 as stated"),
        ({}, {"scale_by_std": True}, "scale_by_std False, not True"),
        ({}, {"image_size": 16}, "resolution 64, not 32"),
        ({}, {"colour": 1}, "no option 'colour'"),
        ({}, {"unet_config": {}}, "do not tell their heads"),
        ({}, {"unet_config": {"num_heads": 3}}, "does not part into 3 heads"),
        ({}, {"unet_config": {"num_head_channels": 48}}, "does not part into heads of 48"),
        ({}, {"unet_config": {"num_heads": 2, "channel_mult": [1, 1]}}, "channel_mult 1,2"),
        ({}, {"first_stage_config": {"ddconfig": {"ch": 64}}}, "ch 32, not 64"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, Tensor | None], options: dict[str, Any], expected: str, vq: Original
) -> None:
    state = {k: v for k, v in (vq.weights | change).items() if v is not None}
    with pytest.raises(AntError, match=expected) as raised:
        ldm.pipeline(state, vq.architecture | options)
    assert raised.value.hint


def test_heads_that_do_not_part_every_width_are_refused(kl: Original) -> None:
    with pytest.raises(AntError, match=r"attention on \[32, 64\] channels does not part into 3"):
        ldm.pipeline(kl.weights, kl.unet(num_heads=3))


def test_a_checkpoint_of_another_format_is_refused(vq: Original) -> None:
    autoencoder = {k: v for k, v in vq.weights.items() if k.startswith("first_stage_model.")}
    with pytest.raises(AntError, match=r"no model\.diffusion_model"):
        ldm.pipeline(autoencoder, {})
    with pytest.raises(AntError, match="no whole checkpoint"):
        ldm.pipeline({"conv_in.weight": torch.zeros(1)}, {})
