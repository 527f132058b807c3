"""Writing a network as a diffusers folder: whole, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import DDPMPipeline, LDMPipeline, ModelMixin, SchedulerMixin
from torch import nn

from antcli.artifacts import replacing_parts, write_json

if TYPE_CHECKING:
    from antcli.sources.source import Source


def write_source(
    folder: Path,
    unet: ModelMixin,
    scheduler: SchedulerMixin,
    autoencoder: ModelMixin | None = None,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Save a network of pixels, or of an autoencoder's latents, as a diffusers pipeline."""
    pipeline = DDPMPipeline(_in(dtype, unet), scheduler)
    if autoencoder is not None:
        pipeline = LDMPipeline(_in(dtype, autoencoder), _in(dtype, unet), scheduler)
    with replacing_parts(folder) as temporary:
        pipeline.save_pretrained(temporary)


def write_like(
    source: Source, folder: Path, unet: ModelMixin, *, dtype: torch.dtype = torch.float16
) -> None:
    """Save the source as a diffusers folder with `unet` in the place of its network."""
    if not source.latent:
        write_source(folder, unet, source.scheduler, dtype=dtype)
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
        _in(dtype, unet).save_pretrained(temporary / "unet")


def _in(dtype: torch.dtype, model: ModelMixin) -> ModelMixin:
    """The model, or a copy where it is of another type."""
    if model.dtype == dtype:
        return model
    copy = type(model).from_config(model.config)
    copy.load_state_dict(model.state_dict())
    # Not ModelMixin's own, which warns of parts that are to stay in float32 where there are none.
    return nn.Module.to(copy, dtype)
