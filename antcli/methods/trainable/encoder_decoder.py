"""The first layers of a U-Net and its last ones train: an encoder and a decoder of its own maps.

Yang et al., "Few-Shot Diffusion Models Escape the Curse of Dimensionality" (NeurIPS 2024), section
6: between an encoder V^T and a decoder V lies what source and target share, which stays. Theirs are
the first four layers down and the last four up. A layer is a ResNet block with its attention, or a
change of size. The convolutions at both ends train here too, they are the linear part of V; the
paper does not say whether its own did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from diffusers import ModelMixin
from torch import nn

from antcli.methods.trainable.denoiser import Limited
from antcli.methods.trainable.tuned import tuning
from antcli.settings import Count, settings


@settings
class EncoderDecoderSettings(Limited):
    """Of the layers at both ends."""

    layers: Count = 4
    """On the way down, and on the way up."""


def layers_of(blocks: Iterable[Any]) -> list[nn.ModuleList]:
    """The layers of the blocks of one way, in the order in which they act."""
    found = []
    for block in blocks:
        attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
        for resnet, attention in zip(block.resnets, attentions, strict=True):
            found.append(nn.ModuleList([resnet, *([attention] if attention is not None else [])]))
        for resized in (getattr(block, "downsamplers", None), getattr(block, "upsamplers", None)):
            found += [nn.ModuleList([layer]) for layer in resized or ()]
    return found


def _ends(unet: ModelMixin, settings: EncoderDecoderSettings) -> Iterator[nn.Parameter]:
    count = settings.layers
    inner = layers_of(unet.down_blocks)[:count] + layers_of(unet.up_blocks)[-count:]
    for module in (unet.conv_in, *inner, unet.conv_norm_out, unet.conv_out):
        yield from module.parameters() if module is not None else ()


CHOICE = tuning(
    "the first and the last layers of the network",
    _ends,
    "encoder_decoder",
    EncoderDecoderSettings,
    1e-4,  # As in the paper (appendix E).
)
