"""The scales and shifts of the normalisations train, about a thousandth of a network."""

from collections.abc import Iterator

from diffusers import ModelMixin
from torch import nn

from antcli.methods.trainable.denoiser import Limited
from antcli.methods.trainable.tuned import tuning
from antcli.settings import settings


@settings
class NormSettings(Limited):
    """Of the normalisations."""


def _norms(unet: ModelMixin, settings: NormSettings) -> Iterator[nn.Parameter]:
    for module in unet.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            yield from module.parameters(recurse=False)


CHOICE = tuning(
    "scales and shifts of the normalisations",
    _norms,
    "norm",
    NormSettings,
    3e-2,
)
