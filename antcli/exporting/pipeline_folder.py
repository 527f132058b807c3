"""An adapted network in the place of its source's, as a pipeline's folder that diffusers opens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler, ModelMixin, SchedulerMixin, UNet2DModel
from torch import Tensor

from antcli.diffusion.sampler import FewSteps, Sampler
from antcli.errors import AntError
from antcli.methods.trainable.denoiser import like
from antcli.sources.condition import CLASS, TEXT
from antcli.sources.networks import UNet2DModelOfColumns
from antcli.sources.source import Source
from antcli.sources.writing import write_like, write_source

INDEX = "model_index.json"


def check_has_pipeline(source: Source, sampler: Sampler) -> None:
    """Raise `AntError` where the source's folder is no pipeline, and is to be written like it."""
    if TEXT in source.condition and isinstance(sampler, FewSteps):
        raise AntError(
            f"the pipeline of source {source.name} has a scheduler of its own, which knows nothing "
            "of the few steps that this run was distilled to",
            "in Python, `antcli.load(RUN)` draws what `ant sample` draws",
        )
    if TEXT in source.condition and not (source.folder / INDEX).is_file():
        raise AntError(
            f"source {source.name} has no {INDEX}: diffusers knows no pipeline to put it into",
            "`--format lora` needs none, or give the source its pipeline's whole folder",
        )


def pipeline_name(source: Source) -> str:
    """The class of diffusers that opens the folder."""
    if TEXT in source.condition:
        index = json.loads((source.folder / INDEX).read_text(encoding="utf-8"))
        return str(index["_class_name"])
    return "LDMPipeline" if source.latent else "DDPMPipeline"


def write_pipeline(folder: Path, source: Source, unet: ModelMixin, sampler: Sampler) -> None:
    """Save it in float32: what was trained may be less than half precision can add to a weight."""
    unet.register_to_config(_name_or_path="")  # that of the source on this machine
    if TEXT in source.condition:
        write_like(source, folder, unet, dtype=torch.float32)
        return
    autoencoder = source.autoencoder.network() if source.autoencoder else None
    if autoencoder is not None:
        autoencoder.register_to_config(_name_or_path="")
    unet = plain(unet, source.condition)
    write_source(folder, unet, scheduler(source, sampler), autoencoder, dtype=torch.float32)


def plain(unet: ModelMixin, condition: Mapping[str, Tensor]) -> ModelMixin:
    """The network without what pipelines of unconditional networks cannot handle.

    What it makes of the class or the columns that it is asked for, a vector that is added to what
    the time is embedded as, goes into the last bias of that embedding. A learned variance, which
    `ant` does not use, goes.
    """
    values, channels = unet.state_dict(), unet.config.in_channels
    config: dict[str, int | None] = {}
    if CLASS in condition:
        with torch.no_grad():
            [told] = unet.class_embedding(condition[CLASS])
        values = {n: value for n, value in values.items() if not n.startswith("class_embedding.")}
        values["time_embedding.linear_2.bias"] = values["time_embedding.linear_2.bias"] + told
        unet = _without_columns(unet)
        config["num_class_embeds"] = None
    if unet.config.out_channels > channels:
        for name in ("conv_out.weight", "conv_out.bias"):
            values[name] = values[name][:channels]
        config["out_channels"] = channels
    if not config:
        return unet
    unet.register_to_config(**config)
    return like(unet, values)


def _without_columns(unet: ModelMixin) -> ModelMixin:
    """The kind that diffusers has a class for, without weights, of a network of columns."""
    if not isinstance(unet, UNet2DModelOfColumns):
        return unet
    config = {n: v for n, v in unet.config.items() if n != "columns" and not n.startswith("_")}
    return UNet2DModel.from_config(config)


def scheduler(source: Source, sampler: Sampler) -> SchedulerMixin:
    """Draws as `ant sample --scheduler ddpm` does, of latents as with `ddim`.

    `LDMPipeline` gives a scheduler no generator, so that of latents draws nothing by chance. What
    was made for few steps draws as it was made for, on the part of the path that it knows.
    """
    few, kind = {}, DDIMScheduler if source.latent else DDPMScheduler
    if isinstance(sampler, FewSteps):
        kind = DDIMScheduler if sampler.scheduler == "ddim" else DDPMScheduler
        known = source.path.betas[: source.path.limit(sampler.share)].tolist()
        few = {"trained_betas": known, "num_train_timesteps": len(known)}
    config = {
        **source.scheduler.config,
        "timestep_spacing": "trailing",
        "clip_sample": not source.latent,
        "thresholding": False,
        "variance_type": "fixed_small",
        **few,
    }
    return kind.from_config(config)
