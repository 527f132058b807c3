"""The biases train, about a thousandth of a network (BitFit, Ben Zaken et al. 2022)."""

from collections.abc import Iterator

from diffusers import ModelMixin
from torch import nn

from antcli.methods.trainable.denoiser import Limited
from antcli.methods.trainable.encoder import is_of_encoder
from antcli.methods.trainable.tuned import tuning
from antcli.settings import settings


@settings
class BiasSettings(Limited):
    """Of the biases."""


def _biases(unet: ModelMixin, settings: BiasSettings) -> Iterator[nn.Parameter]:
    for name, parameter in unet.named_parameters():
        if name.rpartition(".")[2] == "bias" and not is_of_encoder(name):
            yield parameter


CHOICE = tuning(
    "the biases, those of the normalisations among them",
    _biases,
    "bias",
    BiasSettings,
    1e-2,
)
