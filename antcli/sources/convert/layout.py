"""The plan that the original U-Nets share with diffusers' `UNet2DModel`, and its names there."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from antcli.errors import AntError

ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
"""Parts of an attention block: their names in the originals, and in diffusers."""

_HINT = "check that it is the file you mean, and its format: adm, pesser or ldm"


@dataclass(frozen=True)
class Layout:
    """Levels, from the whole map to the smallest; from one to the next the map is halved."""

    widths: tuple[int, ...]
    """Channels, by level."""
    attention: tuple[bool, ...]
    """Whether an attention block follows each ResNet block, by level."""
    blocks: int
    """ResNet blocks of a level on the way down; on the way up it has one more."""

    def resolutions(self, size: int) -> frozenset[int]:
        """Sides of the maps with attention blocks, for images of side `size`."""
        return frozenset(size >> level for level, has in enumerate(self.attention) if has)

    @property
    def attending_widths(self) -> frozenset[int]:
        """Channels of all attention blocks, the middle one's included."""
        levels = zip(self.widths, self.attention, strict=True)
        return frozenset({self.widths[-1], *(width for width, has in levels if has)})

    def config(self, *, resnet_samplers: bool = False) -> dict[str, Any]:
        """Its part of a `UNet2DModel`'s config; `resnet_samplers`: ResNet blocks resize the map."""
        down, up = ("DownBlock2D", "UpBlock2D")
        if resnet_samplers:
            down, up = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
        return {
            "block_out_channels": list(self.widths),
            "layers_per_block": self.blocks,
            "down_block_types": ["AttnDownBlock2D" if a else down for a in self.attention],
            "up_block_types": ["AttnUpBlock2D" if a else up for a in reversed(self.attention)],
            "downsample_type": "resnet" if resnet_samplers else "conv",
            "upsample_type": "resnet" if resnet_samplers else "conv",
        }


def layout_of(widths: tuple[int, ...], *, attending: Set[int], blocks: int) -> Layout:
    """The plan of a published network; `attending` has the numbers of levels with attention."""
    return Layout(widths, tuple(level in attending for level in range(len(widths))), blocks)


def shape(state: Mapping[str, Tensor], name: str, code: str) -> tuple[int, ...]:
    """Of a tensor that every checkpoint of `code` has; `AntError` where this one has not."""
    if name not in state:
        raise AntError(f"this is no whole checkpoint of {code}: it has no {name}", _HINT)
    return tuple(state[name].shape)


def parts(old: str, new: str, names: Mapping[str, str]) -> dict[str, str]:
    """New names of the parts of a block, by their old ones."""
    return {f"{old}.{part}": f"{new}.{name}" for part, name in names.items()}


def rename(state: Mapping[str, Tensor], modules: Mapping[str, str], code: str) -> dict[str, Tensor]:
    """The tensors under diffusers' names; `modules` maps the names of all modules.

    The 1x1 convolutions of attention become the linear layers that they are in diffusers.
    """
    renamed = {}
    for name, tensor in state.items():
        module, _, parameter = name.rpartition(".")
        if module not in modules:
            raise AntError(f"this is no checkpoint of {code}: {name} has no place in it", _HINT)
        if ".to_" in modules[module]:
            tensor = tensor.flatten(1) if parameter == "weight" else tensor
        renamed[f"{modules[module]}.{parameter}"] = tensor
    return renamed
