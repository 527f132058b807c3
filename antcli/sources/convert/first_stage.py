"""The autoencoders of CompVis' latent diffusion, VQ and KL (`first_stage_model` in its files)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from antcli.sources.convert import pesser
from antcli.sources.convert.architecture import resolve
from antcli.sources.convert.folder import Part
from antcli.sources.convert.layout import Layout, rename, shape

PREFIX = "first_stage_model."
_CODEBOOK = "quantize.embedding.weight"


def first_stage_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Its weights under its own names, without those of its training's loss."""
    own = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
    return {name: tensor for name, tensor in own.items() if not name.startswith("loss.")}


def read_layout(weights: Mapping[str, Tensor], code: str) -> Layout:
    """The plan of its encoder, which its decoder mirrors. `AntError` where there is none."""
    name = "encoder.down.{}.block.{}.conv1.weight".format
    shape(weights, name(0, 0), code)
    levels = sum(name(level, 0) in weights for level in range(len(weights)))
    return Layout(
        tuple(weights[name(level, 0)].shape[0] for level in range(levels)),
        tuple(f"encoder.down.{level}.attn.0.q.weight" in weights for level in range(levels)),
        sum(name(0, block) in weights for block in range(len(weights))),
    )


def first_stage(
    weights: Mapping[str, Tensor],
    layout: Layout,
    stated: Mapping[str, Any],
    *,
    image_size: int,
    scale_factor: float,
    code: str,
) -> Part:
    """A `VQModel` or `AutoencoderKL` for latents of side `image_size`.

    Raises `AntError` where weights and options do not fit.
    """
    quantised = _CODEBOOK in weights
    resolution = image_size << (len(layout.widths) - 1)
    from_weights = _from_weights(weights, layout, quantised, code) | {"resolution": resolution}
    resolve({**stated.get("ddconfig", {}), **_flat(stated)}, from_weights, {"dropout": 0.0})
    levels = len(layout.widths)
    config = {
        "in_channels": from_weights["in_channels"],
        "out_channels": from_weights["out_ch"],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(layout.widths),
        "layers_per_block": layout.blocks,
        "latent_channels": from_weights["z_channels"],
        "norm_num_groups": 32,
        "sample_size": resolution,
        "scaling_factor": scale_factor,
    }
    if quantised:
        config["num_vq_embeddings"] = from_weights["n_embed"]
        config["vq_embed_dim"] = from_weights["embed_dim"]
    kind = "VQModel" if quantised else "AutoencoderKL"
    return Part(kind, config, rename(weights, _modules(layout), code))


def _flat(stated: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stated.items() if name != "ddconfig"}


def _from_weights(
    weights: Mapping[str, Tensor], layout: Layout, quantised: bool, code: str
) -> dict[str, Any]:
    """All that its weights tell, in the option names of the original."""
    base = layout.widths[0]
    target = "VQModelInterface" if quantised else "AutoencoderKL"
    found = {
        "target": f"ldm.models.autoencoder.{target}",
        "embed_dim": shape(weights, "post_quant_conv.weight", code)[1],
        "double_z": not quantised,
        "z_channels": shape(weights, "decoder.conv_in.weight", code)[1],
        "in_channels": shape(weights, "encoder.conv_in.weight", code)[1],
        "out_ch": shape(weights, "decoder.conv_out.weight", code)[0],
        "ch": base,
        "ch_mult": tuple(width // base for width in layout.widths),
        "num_res_blocks": layout.blocks,
        "attn_resolutions": frozenset[int](),
    }
    return found | ({"n_embed": len(weights[_CODEBOOK])} if quantised else {})


def _modules(layout: Layout) -> dict[str, str]:
    """Names of all modules, mapped to those in diffusers.

    Encoder and decoder name their blocks as the halves of a U-Net of pytorch_diffusion.
    """
    blocks = pesser.modules(layout).items()
    halves = {f"{h}.{old}": f"{h}.{new}" for h in ("encoder", "decoder") for old, new in blocks}
    whole = ("quantize.embedding", "quant_conv", "post_quant_conv")
    return halves | {name: name for name in whole}
