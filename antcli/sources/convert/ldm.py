"""Latent diffusion of CompVis (Rombach et al. 2022, arXiv 2112.10752), the unconditional models.

A checkpoint holds the U-Net, averages of its weights, and the autoencoder. Options are those of
github.com/CompVis/latent-diffusion, nested as under `model.params` of its config files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from antcli.errors import AntError
from antcli.sources.convert import adm
from antcli.sources.convert.architecture import resolve
from antcli.sources.convert.first_stage import first_stage, first_stage_state, read_layout
from antcli.sources.convert.folder import Part, Pipeline
from antcli.sources.convert.layout import Layout, layout_of, shape

CODE = "latent-diffusion"
UNET, AVERAGES, CONDITION = "model.diffusion_model.", "model_ema.", "cond_stage_model."
PIXELS = 256
"""Side of the images of all published models."""
DEFAULTS: Mapping[str, Any] = {
    "timesteps": 1000,
    "linear_start": 0.0015,
    "linear_end": 0.0195,
    "scale_factor": 1.0,
}
"""Of the process, as the FFHQ and CelebA-HQ models have it, where a checkpoint does not tell."""
_NONE = -1
"""Of heads, where the other option tells them."""
UNET_DEFAULTS: Mapping[str, Any] = {
    "num_heads": _NONE,
    "num_head_channels": _NONE,
    "use_new_attention_order": False,
    "dropout": 0.0,
}
PUBLISHED_HEADS: Mapping[Layout, Mapping[str, int]] = {
    # FFHQ, CelebA-HQ and LSUN bedrooms; LSUN churches.
    layout_of((224, 448, 672, 896), attending={1, 2, 3}, blocks=2): {"num_head_channels": 32},
    layout_of((192, 384, 384, 768, 768), attending={0, 1, 2, 3}, blocks=2): {"num_heads": 8},
}


def pipeline(state: Mapping[str, Tensor], architecture: Mapping[str, Any]) -> Pipeline:
    """An `LDMPipeline` of the same networks, the U-Net with averaged weights where there are any.

    Raises `AntError` where the model is conditional, or weights and architecture do not fit.
    """
    if any(name.startswith(CONDITION) for name in state):
        raise AntError("this model wants a condition", "only unconditional ones can be converted")
    stated = dict(architecture)
    stated_unet, stated_first = stated.pop("unet_config", {}), stated.pop("first_stage_config", {})
    weights = first_stage_state(state)
    layout = read_layout(weights, CODE)
    process_weights, options = _process(state, stated, len(layout.widths))
    autoencoder = first_stage(
        weights,
        layout,
        stated_first,
        image_size=options["image_size"],
        scale_factor=options["scale_factor"],
        code=CODE,
    )
    unet, assumed = _unet(unet_state(state), stated_unet, options["image_size"])
    assumed |= {name: v for name, v in options.items() if name not in process_weights}
    # An `LDMPipeline` calls its autoencoder `vqvae`, of whatever class it is.
    parts = {"vqvae": autoencoder, "unet": unet}
    scheduler = Part("DDIMScheduler", _scheduler(options))
    return Pipeline("LDMPipeline", {**parts, "scheduler": scheduler}, assumed)


def unet_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The U-Net's weights under its own names: the averages where the checkpoint has them.

    These lack the dots of the names that they were taken from: `model_ema.diffusion_modelout2bias`.
    Raises `AntError` where there is no U-Net, or an average is missing.
    """
    stepped = {k.removeprefix(UNET): v for k, v in state.items() if k.startswith(UNET)}
    if not stepped:
        raise AntError(
            f"this is no checkpoint of {CODE}: it has no {UNET}*",
            "check that it is the file you mean, and its format: adm, pesser or ldm",
        )
    if not any(name.startswith(AVERAGES) for name in state):
        return stepped
    shadows = {name: AVERAGES + f"diffusion_model.{name}".replace(".", "") for name in stepped}
    missing = next((shadow for shadow in shadows.values() if shadow not in state), None)
    if missing is not None:
        raise AntError(f"this is no whole checkpoint: it has no {missing}", "get the file again")
    return {name: state[shadow] for name, shadow in shadows.items()}


def _unet(
    weights: Mapping[str, Tensor], stated: Mapping[str, Any], size: int
) -> tuple[Part, dict[str, Any]]:
    """The network, and the options of it that no weight tells."""
    layout = adm.read_layout(weights, CODE)
    config = adm.unet_config(weights, layout)
    base = layout.widths[0]
    from_weights = {
        "image_size": size,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": base,
        "channel_mult": tuple(width // base for width in layout.widths),
        "num_res_blocks": layout.blocks,
        "attention_resolutions": frozenset(
            2**level for level, attends in enumerate(layout.attention) if attends
        ),
        "use_scale_shift_norm": config["resnet_time_scale_shift"] == "scale_shift",
        "resblock_updown": config["downsample_type"] == "resnet",
    }
    options = resolve({**_heads_known(layout, stated), **stated}, from_weights, UNET_DEFAULTS)
    order: adm.Order = "new" if options["use_new_attention_order"] else "legacy"
    width = options["num_head_channels"]
    heads = adm.find_heads(layout, None if width == _NONE else width, options["num_heads"])
    config |= {
        "sample_size": size,
        "dropout": options["dropout"],
        "attention_head_dim": heads.dimension,
    }
    assumed = {k: v for k, v in options.items() if k not in from_weights and v != _NONE}
    tensors = adm.unet_weights(weights, layout, heads, order, CODE)
    return Part(heads.network, config, tensors), assumed


def _heads_known(layout: Layout, stated: Mapping[str, Any]) -> Mapping[str, int]:
    """Heads where they are not stated. The shapes do not tell them, and wrong ones would load."""
    if "num_heads" in stated or "num_head_channels" in stated:
        return {}
    if layout not in PUBLISHED_HEADS:
        raise AntError(
            f"this is none of the published models (model_channels is {layout.widths[0]}), and "
            "weights do not tell their heads",
            "state num_heads or num_head_channels as it was trained with, e.g. `option` "
            "unet_config.num_heads=8",
        )
    return PUBLISHED_HEADS[layout]


def _process(
    state: Mapping[str, Tensor], stated: Mapping[str, Any], levels: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the process that the weights tell, and all that bear on the result."""
    from_weights = _schedule(state["betas"]) if "betas" in state else {}
    from_weights |= {"channels": shape(state, f"{UNET}out.2.weight", CODE)[0]}
    scale = state.get("scale_factor")  # kept in the file where it was measured
    from_weights |= {"scale_by_std": scale is not None}
    if scale is not None:
        from_weights |= {"scale_factor": scale.item()}
    usual = {**DEFAULTS, "image_size": PIXELS >> (levels - 1)}
    return from_weights, resolve(stated, from_weights, usual)


def _schedule(betas: Tensor) -> dict[str, Any]:
    """The options that `betas` [T] were made with."""
    start, end = (float(f"{beta:.6g}") for beta in betas[[0, -1]].tolist())
    linear = torch.linspace(start**0.5, end**0.5, len(betas), dtype=torch.float64) ** 2
    if not torch.allclose(betas.double(), linear, rtol=1e-4, atol=0):
        raise AntError(
            f"the noise of this model does not follow {CODE}'s linear schedule",
            "only models trained with that schedule can be converted",
        )
    return {"timesteps": len(betas), "linear_start": start, "linear_end": end}


def _scheduler(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of `DDIMSampler`, with which the original samples; its `linear` is of square roots."""
    return {
        "num_train_timesteps": options["timesteps"],
        "beta_schedule": "scaled_linear",
        "beta_start": options["linear_start"],
        "beta_end": options["linear_end"],
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
