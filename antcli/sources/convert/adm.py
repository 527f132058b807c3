"""ADM, the U-Net of guided-diffusion (Dhariwal and Nichol 2021, arXiv 2105.05233).

P2-weighting, ILVR, DPS and ddpm-segmentation train the same network. Names and options are
those of github.com/openai/guided-diffusion, `unet.py` and `script_util.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor

from antcli.errors import AntError
from antcli.sources.convert.architecture import option, settle
from antcli.sources.convert.folder import Part, Pipeline
from antcli.sources.convert.layout import ATTENTION, Layout, parts, rename, shape

CODE = "guided-diffusion"
DEFAULTS: Mapping[str, Any] = {
    "image_size": 256,
    "num_head_channels": 64,
    "num_heads": 4,  # counts where it is stated and num_head_channels is not, or is -1
    "use_new_attention_order": False,
    "dropout": 0.0,
    "noise_schedule": "linear",
    "diffusion_steps": 1000,
}
"""What the shapes of the weights do not tell, as the LSUN and FFHQ models have it."""

Order = Literal["legacy", "new"]
"""Of the rows of `qkv`: by head and then q, k, v; or by q, k, v and then head."""
Heads = Callable[[int], int]
"""How many heads so many channels have."""

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


def pipeline(state: Mapping[str, Tensor], architecture: Mapping[str, Any]) -> Pipeline:
    """A `DDPMPipeline` of the same network, its channels of learned variance included.

    Raises `AntError` where weights and architecture do not fit, or no `UNet2DModel` is equal.
    """
    layout = read_layout(state, CODE)
    options = _settled(state, layout, architecture)
    order: Order = "new" if options["use_new_attention_order"] else "legacy"
    head = head_width(layout, options["num_head_channels"], options["num_heads"])
    unet = Part(
        "UNet2DModel",
        {
            "sample_size": options["image_size"],
            "dropout": options["dropout"],
            **unet_config(state, layout, head),
        },
        unet_weights(state, layout, heads_of(head), order, CODE),
    )
    scheduler = Part("DDPMScheduler", _scheduler(options))
    return Pipeline("DDPMPipeline", {"unet": unet, "scheduler": scheduler})


def read_layout(state: Mapping[str, Tensor], code: str) -> Layout:
    """The plan of an ADM U-Net from its weights. `AntError` where they are of no such network."""
    embedded = shape(state, "time_embed.0.weight", code)[1]
    shape(state, "output_blocks.0.0.in_layers.2.weight", code)  # which classifiers lack
    total = len({name.split(".")[1] for name in state if name.startswith("output_blocks.")})
    # On the way up the last block of a level also resizes the map, but for that of the whole map.
    levels = 1 + sum(_resizes(state, f"output_blocks.{n}") for n in range(total))
    blocks = total // levels - 1
    firsts = [f"input_blocks.{1 + level * (blocks + 1)}" for level in range(levels)]
    widths = tuple(shape(state, f"{first}.0.out_layers.3.weight", code)[0] for first in firsts)
    if widths[0] != embedded:
        raise AntError(
            f"its first blocks have {widths[0]} channels and its time embedding {embedded}: no "
            "UNet2DModel can have both",
            "only networks whose channel_mult begins with 1 can be converted",
        )
    return Layout(widths, tuple(f"{first}.1.qkv.weight" in state for first in firsts), blocks)


def head_width(layout: Layout, num_head_channels: int | None, num_heads: int) -> int | None:
    """Channels of a head, `num_heads` counting where `num_head_channels` is None; None where
    every block has one head.

    Raises `AntError` where that is not one number: a `UNet2DModel` has one for all its blocks.
    """
    widths = sorted(layout.attending_widths)
    if num_head_channels is None:
        if num_heads == 1:
            return None
        if len(widths) > 1:
            raise AntError(
                f"no UNet2DModel has {num_heads} heads at each of {widths} channels",
                "networks of equally wide heads can be converted: those with num_head_channels",
            )
        num_head_channels = widths[0] // num_heads if widths[0] % num_heads == 0 else 0
    if num_head_channels == 0 or any(width % num_head_channels for width in widths):
        raise AntError(
            f"attention on {widths} channels does not part into such heads",
            "state num_head_channels or num_heads as it was trained with",
        )
    return num_head_channels


def heads_of(head: int | None) -> Heads:
    """Heads of equal width."""
    return lambda channels: channels // head if head else 1


def unet_config(state: Mapping[str, Tensor], layout: Layout, head: int | None) -> dict[str, Any]:
    """The `UNet2DModel` config of an ADM U-Net, but for the image's size and dropout."""
    classes = state.get("label_emb.weight")
    return {
        "in_channels": state["input_blocks.0.0.weight"].shape[1],
        "out_channels": state["out.2.weight"].shape[0],
        **layout.config(resnet_samplers=_resnet_samplers(state, layout)),
        "attention_head_dim": head,
        "resnet_time_scale_shift": "scale_shift" if _scale_shift(state, CODE) else "default",
        "norm_num_groups": 32,
        # Without it, diffusers gives the middle attention no norm under scale-shift.
        "attn_norm_num_groups": 32,
        "norm_eps": 1e-5,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "num_class_embeds": None if classes is None else len(classes),
    }


def unet_weights(
    state: Mapping[str, Tensor], layout: Layout, heads: Heads, order: Order, code: str
) -> dict[str, Tensor]:
    """The weights of an ADM U-Net under diffusers' names, q, k and v apart.

    A wrong `order` gives the right shapes and wrong images.
    """
    apart: dict[str, Tensor] = {}
    for name, tensor in state.items():
        block, found, parameter = name.rpartition(".qkv.")
        if not found:
            apart[name] = tensor
            continue
        rows = split_qkv(tensor, heads(len(tensor) // 3), order)
        apart |= {f"{block}.{part}.{parameter}": rows[part] for part in rows}
    return rename(apart, _modules(layout), code)


def split_qkv(qkv: Tensor, heads: int, order: Order) -> dict[str, Tensor]:
    """Rows of q, k and v out of `qkv` [3 C, ...], each [C, ...] with its heads in sequence."""
    if order == "legacy":
        rows = qkv.unflatten(0, (heads, 3, -1)).unbind(1)
    else:
        rows = qkv.unflatten(0, (3, heads, -1)).unbind(0)
    return {name: part.flatten(0, 1) for name, part in zip("qkv", rows, strict=True)}


def _modules(layout: Layout) -> dict[str, str]:
    """Names of all modules of an ADM U-Net, mapped to those in diffusers."""
    names = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "label_emb": "class_embedding",
        **parts("middle_block.0", "mid_block.resnets.0", _RESNET),
        **parts("middle_block.1", "mid_block.attentions.0", ATTENTION),
        **parts("middle_block.2", "mid_block.resnets.1", _RESNET),
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    for level in range(len(layout.widths)):
        names |= _down(layout, level) | _up(layout, level)
    return names | {"input_blocks.0.0": "conv_in"}


def _down(layout: Layout, level: int) -> dict[str, str]:
    """A level on the way down: its blocks, counted on from the level before, then the halving."""
    names: dict[str, str] = {}
    new, first = f"down_blocks.{level}", 1 + level * (layout.blocks + 1)
    for n in range(layout.blocks):
        names |= parts(f"input_blocks.{first + n}.0", f"{new}.resnets.{n}", _RESNET)
        names |= parts(f"input_blocks.{first + n}.1", f"{new}.attentions.{n}", ATTENTION)
    halving = f"input_blocks.{first + layout.blocks}.0"
    return names | parts(halving, f"{new}.downsamplers.0", {"op": "conv"} | _RESNET)


def _up(layout: Layout, level: int) -> dict[str, str]:
    """A level on the way up: its blocks, the last of which doubles the map as well."""
    names: dict[str, str] = {}
    place = len(layout.widths) - 1 - level
    new, first = f"up_blocks.{place}", place * (layout.blocks + 1)
    for n in range(layout.blocks + 1):
        names |= parts(f"output_blocks.{first + n}.0", f"{new}.resnets.{n}", _RESNET)
        names |= parts(f"output_blocks.{first + n}.1", f"{new}.attentions.{n}", ATTENTION)
    doubling = f"output_blocks.{first + layout.blocks}.{1 + layout.attention[level]}"
    return names | parts(doubling, f"{new}.upsamplers.0", {"conv": "conv"} | _RESNET)


def _resizes(state: Mapping[str, Tensor], block: str) -> bool:
    layers = ("1.conv", "2.conv", "1.in_layers.2", "2.in_layers.2")
    return any(f"{block}.{layer}.weight" in state for layer in layers)


def _resnet_samplers(state: Mapping[str, Tensor], layout: Layout) -> bool:
    return f"input_blocks.{layout.blocks + 1}.0.in_layers.2.weight" in state


def _scale_shift(state: Mapping[str, Tensor], code: str) -> bool:
    embedded = shape(state, "middle_block.0.emb_layers.1.weight", code)[0]
    return embedded == 2 * shape(state, "middle_block.0.out_layers.3.weight", code)[0]


def _settled(
    state: Mapping[str, Tensor], layout: Layout, architecture: Mapping[str, Any]
) -> dict[str, Any]:
    """All options of guided-diffusion that bear on the result."""
    inputs = shape(state, "input_blocks.0.0.weight", CODE)[1]
    outputs = shape(state, "out.2.weight", CODE)[0]
    if inputs != 3 or outputs not in (3, 6):
        raise AntError(
            f"this network makes {outputs} channels out of {inputs}, not RGB images from noise",
            "models for super-resolution and for latents need another format",
        )
    told = {
        "num_channels": layout.widths[0],
        "channel_mult": tuple(width // layout.widths[0] for width in layout.widths),
        "num_res_blocks": layout.blocks,
        "attention_resolutions": layout.resolutions(option("image_size", architecture, DEFAULTS)),
        "use_scale_shift_norm": _scale_shift(state, CODE),
        "resblock_updown": _resnet_samplers(state, layout),
        "learn_sigma": outputs == 6,
        "class_cond": "label_emb.weight" in state,
    }
    if "num_heads" not in architecture or architecture.get("num_head_channels", -1) != -1:
        return settle(architecture, told, DEFAULTS)
    stated = {name: value for name, value in architecture.items() if name != "num_head_channels"}
    return settle(stated, told, DEFAULTS) | {"num_head_channels": None}


def _scheduler(options: Mapping[str, Any]) -> dict[str, Any]:
    """As `create_gaussian_diffusion` sets it up: betas end at 20 / steps, whatever the steps."""
    steps, schedule = options["diffusion_steps"], options["noise_schedule"]
    if schedule not in _SCHEDULES:
        raise AntError(f"noise_schedule cannot be {schedule!r}", f"it is {' or '.join(_SCHEDULES)}")
    return {
        "num_train_timesteps": steps,
        "beta_schedule": _SCHEDULES[schedule],
        "beta_start": 0.1 / steps,
        "beta_end": 20 / steps,
        "variance_type": "learned_range" if options["learn_sigma"] else "fixed_large",
    }
