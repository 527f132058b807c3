"""ADM, the U-Net of guided-diffusion (Dhariwal and Nichol 2021, arXiv 2105.05233).

P2-weighting, ILVR, DPS and ddpm-segmentation train the same network. Names and options are
those of github.com/openai/guided-diffusion, `unet.py` and `script_util.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from antcli.errors import AntError
from antcli.sources.convert.architecture import check_known, option, resolve
from antcli.sources.convert.folder import Part, Pipeline
from antcli.sources.convert.layout import ATTENTION, Layout, layout_of, parts, rename, shape

CODE = "guided-diffusion"
NEEDED: Mapping[str, Any] = {
    "image_size": 256,
    "num_head_channels": 64,
    "use_new_attention_order": False,
    "noise_schedule": "linear",
}
"""What no shape of a weight tells and a wrong guess at which would load; with examples.
`num_heads` does where the heads are not of equal width."""
DEFAULTS: Mapping[str, Any] = {"dropout": 0.0, "diffusion_steps": 1000}
"""What all published models have, or what changes no number of a trained network."""
PUBLISHED: Mapping[Layout, Mapping[str, Any]] = {
    # FFHQ and the others of P2, ILVR and DPS.
    layout_of((128, 128, 256, 256, 512, 512), attending={4}, blocks=1): NEEDED,
    # LSUN, ImageNet at 256x256; FFHQ of ddpm-segmentation.
    layout_of((256, 256, 512, 512, 1024, 1024), attending={3, 4, 5}, blocks=2): NEEDED,
    # ImageNet at 64x64 and 128x128.
    layout_of((192, 384, 576, 768), attending={1, 2, 3}, blocks=3): {
        "image_size": 64,
        "num_head_channels": 64,
        "use_new_attention_order": True,
        "noise_schedule": "cosine",
        "dropout": 0.1,
    },
    layout_of((256, 256, 512, 768, 1024), attending={2, 3, 4}, blocks=2): {
        "image_size": 128,
        "num_heads": 4,
        "use_new_attention_order": False,
        "noise_schedule": "linear",
    },
}
"""What the published networks were trained with; all have scale-shift and ResNet blocks that
resize, and learn the variance. From guided-diffusion's and P2's README."""

Order = Literal["legacy", "new"]
"""Of the rows of `qkv`: by head and then q, k, v; or by q, k, v and then head."""


@dataclass(frozen=True)
class Heads:
    """How the channels of attention part into heads."""

    network: str
    """The class that has such heads."""
    dimension: int | list[int] | None
    """Channels of a head: everywhere, by level, or None where every block has one head."""
    count: Callable[[int], int]
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
    from_weights, options = _options(state, layout, architecture)
    order: Order = "new" if options["use_new_attention_order"] else "legacy"
    heads = find_heads(layout, options.get("num_head_channels"), options.get("num_heads", 1))
    unet = Part(
        heads.network,
        {
            "sample_size": options["image_size"],
            "dropout": options["dropout"],
            "attention_head_dim": heads.dimension,
            **unet_config(state, layout),
        },
        unet_weights(state, layout, heads, order, CODE),
    )
    scheduler = Part("DDPMScheduler", _scheduler(options))
    assumed = {name: value for name, value in options.items() if name not in from_weights}
    return Pipeline("DDPMPipeline", {"unet": unet, "scheduler": scheduler}, assumed)


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


def find_heads(layout: Layout, num_head_channels: int | None, num_heads: int) -> Heads:
    """The heads of a network, `num_heads` counting where `num_head_channels` is None.

    Raises `AntError` where attention does not part into them.
    """
    widths = sorted(layout.attending_widths)
    if num_head_channels is None and num_heads == 1:
        return Heads("UNet2DModel", None, lambda _: 1)
    parts = [width % (num_head_channels or num_heads) == 0 for width in widths]
    if not all(parts):
        stated = f"heads of {num_head_channels} channels" if num_head_channels else num_heads
        raise AntError(
            f"attention on {widths} channels does not part into {stated}"
            + ("" if num_head_channels else " heads"),
            "state num_head_channels or num_heads as it was trained with",
        )
    if num_head_channels is None and len(widths) > 1:
        by_level = [width // num_heads for width in layout.widths]
        return Heads("UNet2DModelOfEqualHeads", by_level, lambda _: num_heads)
    width = num_head_channels or widths[0] // num_heads
    return Heads("UNet2DModel", width, lambda channels: channels // width)


def unet_config(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Any]:
    """The `UNet2DModel` config of an ADM U-Net, but for the image's size, heads and dropout."""
    classes = state.get("label_emb.weight")
    return {
        "in_channels": state["input_blocks.0.0.weight"].shape[1],
        "out_channels": state["out.2.weight"].shape[0],
        **layout.config(resnet_samplers=_resnet_samplers(state, layout)),
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
        rows = split_qkv(tensor, heads.count(len(tensor) // 3), order)
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


def _options(
    state: Mapping[str, Tensor], layout: Layout, stated: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of guided-diffusion that the weights tell, and all that bear on the result."""
    inputs = shape(state, "input_blocks.0.0.weight", CODE)[1]
    outputs = shape(state, "out.2.weight", CODE)[0]
    if inputs != 3 or outputs not in (3, 6):
        raise AntError(
            f"this network makes {outputs} channels out of {inputs}, not RGB images from noise",
            "models for super-resolution and for latents need another format",
        )
    from_weights = {
        "num_channels": layout.widths[0],
        "channel_mult": tuple(width // layout.widths[0] for width in layout.widths),
        "num_res_blocks": layout.blocks,
        "use_scale_shift_norm": _scale_shift(state, CODE),
        "resblock_updown": _resnet_samplers(state, layout),
        "learn_sigma": outputs == 6,
        "class_cond": "label_emb.weight" in state,
    }
    as_published = outputs == 6 and _scale_shift(state, CODE) and _resnet_samplers(state, layout)
    known = _known(PUBLISHED.get(layout, {}) if as_published else {}, stated)
    by_count = "num_heads" in known
    needed = {k: v for k, v in NEEDED.items() if not (by_count and k == "num_head_channels")}
    needed |= {"num_heads": 4} if by_count else {}
    examples = {**DEFAULTS, **needed}
    check_known(known, needed, {*examples, *from_weights, "attention_resolutions"})
    from_weights["attention_resolutions"] = layout.resolutions(option("image_size", known, NEEDED))
    return from_weights, resolve(known, from_weights, examples)


def _known(published: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """What is stated, and else what a published network has; one option of the two for heads."""
    known = {**published, **stated}
    # As in guided-diffusion: -1 says that num_heads counts, and otherwise it does not.
    if "num_heads" in stated and stated.get("num_head_channels", -1) == -1:
        known.pop("num_head_channels", None)
    elif "num_head_channels" in stated:
        known.pop("num_heads", None)
    return known


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
