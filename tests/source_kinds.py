"""Sources of every kind that can be adapted, tiny and with random weights."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DDPMScheduler,
    LDMPipeline,
    ModelMixin,
    PNDMScheduler,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)

from antcli.sources.networks import UNet2DModelOfColumns

UNET = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": 4,
}
TEXT_DIMENSION, COLUMNS = 12, 5
LATENT = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}
KINDS = (
    "ddim",
    "v_prediction",
    "sample",
    "learned-variance",
    "class-conditional",
    "columns",
    "ldm",
    "ldm-kl",
    "ldm-tiny",
)
"""All but the one that needs a text encoder."""


def vq() -> VQModel:
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=3,
        num_vq_embeddings=32,
        norm_num_groups=4,
        scaling_factor=0.5,
    ).eval()


def kl(**more: object) -> AutoencoderKL:
    settings = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 8),
        "latent_channels": 4,
        "norm_num_groups": 4,
    }
    return AutoencoderKL(**(settings | more)).eval()


def tiny() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=4,
    ).eval()


def unet(**more: object) -> UNet2DModel:
    return UNet2DModel(**(UNET | more)).eval()


def text_unet(**more: object) -> UNet2DConditionModel:
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": TEXT_DIMENSION,
    }
    return UNet2DConditionModel(**(UNET | blocks | more)).eval()


def _write(folder: Path, **parts: ModelMixin) -> None:
    for name, part in parts.items():
        part.save_pretrained(folder / name)


def write_kind(kind: str, folder: Path) -> Path:
    """A source of 16x16 images; latents are 8x8."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "ldm":
            LDMPipeline(vq(), unet(), DDIMScheduler(**LATENT)).save_pretrained(folder)
        elif kind in ("ldm-kl", "ldm-tiny"):
            latent = unet(in_channels=4, out_channels=4)
            vae = kl(scaling_factor=0.7) if kind == "ldm-kl" else tiny()
            _write(folder, unet=latent, vae=vae, scheduler=DDPMScheduler(**LATENT))
        elif kind == "text":
            latent = text_unet(in_channels=4, out_channels=4)
            _write(folder, unet=latent, vae=kl(), scheduler=PNDMScheduler(**LATENT))
        elif kind == "learned-variance":
            variance = DDPMScheduler(variance_type="learned_range")
            _write(folder, unet=unet(sample_size=16, out_channels=6), scheduler=variance)
        elif kind == "class-conditional":
            classes = unet(sample_size=16, num_class_embeds=3)
            _write(folder, unet=classes, scheduler=DDPMScheduler())
        elif kind == "columns":
            told = UNet2DModelOfColumns(columns=COLUMNS, **(UNET | {"sample_size": 16})).eval()
            _write(folder, unet=told, scheduler=DDPMScheduler())
        elif kind == "ddim":  # at the root, as early repositories have it
            unet(sample_size=16).save_pretrained(folder)
            DDIMScheduler().save_pretrained(folder)
        else:
            cosine = DDPMScheduler(prediction_type=kind, beta_schedule="squaredcos_cap_v2")
            _write(folder, unet=unet(sample_size=16), scheduler=cosine)
    return folder
