"""Writing a network as a diffusers folder: whole, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from diffusers import DDPMPipeline, DDPMScheduler, LDMPipeline, ModelMixin

from antcli.artifacts import replacing_parts, write_json

if TYPE_CHECKING:
    from antcli.sources.source import Source


def write_source(
    folder: Path,
    unet: ModelMixin,
    scheduler: DDPMScheduler,
    autoencoder: ModelMixin | None = None,
) -> None:
    """Save a network of pixels, or of an autoencoder's latents, as a diffusers pipeline in fp16."""
    pipeline = DDPMPipeline(_half(unet), scheduler)
    if autoencoder is not None:
        pipeline = LDMPipeline(_half(autoencoder), _half(unet), scheduler)
    with replacing_parts(folder) as temporary:
        pipeline.save_pretrained(temporary)


def write_like(source: Source, folder: Path, unet: ModelMixin) -> None:
    """Save the source as a diffusers folder, in fp16, with `unet` in the place of its network."""
    if not source.latent:
        write_source(folder, unet, source.scheduler)
        return
    with replacing_parts(folder) as temporary:
        temporary.mkdir()
        for part in source.folder.iterdir():
            # A repository may hold the same weights in other formats beside its parts.
            if part.is_dir() and part != source.weights.parent and part.name[0] != ".":
                shutil.copytree(part, temporary / part.name)
            elif part.suffix == ".json":
                shutil.copyfile(part, temporary / part.name)
        if source.autoencoder is not None:  # whose config may not state all that is known of it
            config = temporary / source.autoencoder.weights.parent.name / "config.json"
            write_json(config, source.autoencoder.config)
        _half(unet).save_pretrained(temporary / "unet")


def _half(model: ModelMixin) -> ModelMixin:
    """A copy in fp16."""
    half = type(model).from_config(model.config)
    half.load_state_dict(model.state_dict())
    return half.half()
