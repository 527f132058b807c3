"""The attention layers train, with the normalisations in front of them (Moon et al. 2022)."""

from collections.abc import Iterator

from diffusers import ModelMixin
from diffusers.models.attention_processor import Attention
from torch import nn

from antcli.methods.trainable.denoiser import Limited
from antcli.methods.trainable.tuned import tuning
from antcli.settings import settings


@settings
class AttentionSettings(Limited):
    """Of the attention layers."""


def _attention(unet: ModelMixin, settings: AttentionSettings) -> Iterator[nn.Parameter]:
    for module in unet.modules():
        if isinstance(module, Attention):
            yield from module.parameters()


CHOICE = tuning(
    "the attention layers",
    _attention,
    "attention",
    AttentionSettings,
    2e-3,
)
