"""The DDPM of Ho et al. (2020, arXiv 2006.11239) in PyTorch, as google/ddpm-* are.

Names and options are those of github.com/pesser/pytorch_diffusion, `model.py` and
`diffusion.py`; ermongroup's ddim has the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from antcli.errors import AntError
from antcli.sources.convert.architecture import check_known, option, resolve
from antcli.sources.convert.folder import Part, Pipeline
from antcli.sources.convert.layout import ATTENTION, Layout, layout_of, parts, rename, shape

CODE = "pytorch_diffusion"
NEEDED: Mapping[str, Any] = {"resolution": 256, "var_type": "fixedsmall"}
"""What no shape of a weight tells and differs between published models, as the LSUN models have it.
"""
DEFAULTS: Mapping[str, Any] = {"beta_start": 1e-4, "beta_end": 0.02, "num_timesteps": 1000}
"""What all published models have."""
PUBLISHED: Mapping[Layout, Mapping[str, Any]] = {
    # LSUN and CelebA-HQ; CIFAR-10; CelebA of ddim.
    layout_of((128, 128, 256, 256, 512, 512), attending={4}, blocks=2): NEEDED,
    layout_of((128, 256, 256, 256), attending={1}, blocks=2): {
        "resolution": 32,
        "var_type": "fixedlarge",
    },
    layout_of((128, 256, 256, 256, 512), attending={2}, blocks=2): {
        "resolution": 64,
        "var_type": "fixedlarge",
    },
}

_RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "temb_proj": "time_emb_proj",
    "norm2": "norm2",
    "conv2": "conv2",
    "nin_shortcut": "conv_shortcut",
}
_VARIANCES = {"fixedsmall": "fixed_small", "fixedlarge": "fixed_large"}


def pipeline(state: Mapping[str, Tensor], architecture: Mapping[str, Any]) -> Pipeline:
    """A `DDPMPipeline` of the same network.

    Raises `AntError` where weights and architecture do not fit.
    """
    layout = _read_layout(state)
    from_weights, options = _options(state, layout, architecture)
    config = {
        "sample_size": options["resolution"],
        "in_channels": shape(state, "conv_in.weight", CODE)[1],
        "out_channels": shape(state, "conv_out.weight", CODE)[0],
        **layout.config(),
        "attention_head_dim": None,
        "norm_num_groups": 32,
        "norm_eps": 1e-6,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
    }
    unet = Part("UNet2DModel", config, rename(state, modules(layout), CODE))
    scheduler = Part("DDPMScheduler", _scheduler(options))
    assumed = {name: value for name, value in options.items() if name not in from_weights}
    return Pipeline("DDPMPipeline", {"unet": unet, "scheduler": scheduler}, assumed)


def _read_layout(state: Mapping[str, Tensor]) -> Layout:
    for name in ("temb.dense.0.weight", "down.0.block.0.conv1.weight"):
        shape(state, name, CODE)
    levels = sum(f"down.{level}.block.0.conv1.weight" in state for level in range(len(state)))
    blocks = sum(f"down.0.block.{block}.conv1.weight" in state for block in range(len(state)))
    return Layout(
        tuple(shape(state, f"down.{n}.block.0.conv1.weight", CODE)[0] for n in range(levels)),
        tuple(f"down.{n}.attn.0.q.weight" in state for n in range(levels)),
        blocks,
    )


def _options(
    state: Mapping[str, Tensor], layout: Layout, stated: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of pytorch_diffusion that the weights tell, and all that bear on the result."""
    known = {**PUBLISHED.get(layout, {}), **stated}
    base = shape(state, "conv_in.weight", CODE)[0]
    from_weights = {
        "ch": base,
        "ch_mult": tuple(width // base for width in layout.widths),
        "num_res_blocks": layout.blocks,
    }
    examples = {**NEEDED, **DEFAULTS}
    check_known(known, NEEDED, {*examples, *from_weights, "attn_resolutions"})
    from_weights["attn_resolutions"] = layout.resolutions(option("resolution", known, NEEDED))
    return from_weights, resolve(known, from_weights, examples)


def modules(layout: Layout) -> dict[str, str]:
    """Names of all modules, mapped to those in diffusers."""
    names = {
        "temb.dense.0": "time_embedding.linear_1",
        "temb.dense.1": "time_embedding.linear_2",
        "conv_in": "conv_in",
        **parts("mid.block_1", "mid_block.resnets.0", _RESNET),
        **parts("mid.attn_1", "mid_block.attentions.0", ATTENTION),
        **parts("mid.block_2", "mid_block.resnets.1", _RESNET),
        "norm_out": "conv_norm_out",
        "conv_out": "conv_out",
    }
    for level in range(len(layout.widths)):
        down, up = f"down_blocks.{level}", f"up_blocks.{len(layout.widths) - 1 - level}"
        for n in range(layout.blocks + 1):
            for old, new in ((f"down.{level}", down), (f"up.{level}", up)):
                names |= parts(f"{old}.block.{n}", f"{new}.resnets.{n}", _RESNET)
                names |= parts(f"{old}.attn.{n}", f"{new}.attentions.{n}", ATTENTION)
        names[f"down.{level}.downsample.conv"] = f"{down}.downsamplers.0.conv"
        names[f"up.{level}.upsample.conv"] = f"{up}.upsamplers.0.conv"
    return names


def _scheduler(options: Mapping[str, Any]) -> dict[str, Any]:
    variance = options["var_type"]
    if variance not in _VARIANCES:
        raise AntError(f"var_type cannot be {variance!r}", f"it is {' or '.join(_VARIANCES)}")
    return {
        "num_train_timesteps": options["num_timesteps"],
        "beta_schedule": "linear",
        "beta_start": options["beta_start"],
        "beta_end": options["beta_end"],
        "variance_type": _VARIANCES[variance],
    }
