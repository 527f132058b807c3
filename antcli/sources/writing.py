"""Writing a network as a diffusers folder: whole, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from diffusers import DDPMPipeline, DDPMScheduler, ModelMixin

from antcli.artifacts import replacing_parts

if TYPE_CHECKING:
    from antcli.sources.source import Source


def write_source(folder: Path, unet: ModelMixin, scheduler: DDPMScheduler) -> None:
    """Save a network of pixels as a diffusers pipeline in fp16 safetensors."""
    with replacing_parts(folder) as temporary:
        DDPMPipeline(_half(unet), scheduler).save_pretrained(temporary)


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
        _half(unet).save_pretrained(temporary / "unet")


def _half(unet: ModelMixin) -> ModelMixin:
    """A copy in fp16."""
    half = type(unet).from_config(unet.config)
    half.load_state_dict(unet.state_dict())
    return half.half()
