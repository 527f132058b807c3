"""Plain fine-tuning: every weight of the network trains, but for what it makes of its condition."""

from collections.abc import Iterator

from diffusers import ModelMixin
from torch import nn

from antcli.methods.trainable.denoiser import Limited
from antcli.methods.trainable.encoder import is_of_encoder
from antcli.methods.trainable.tuned import tuning
from antcli.settings import settings


@settings
class FullSettings(Limited):
    """Of plain fine-tuning."""


def _all(unet: ModelMixin, settings: FullSettings) -> Iterator[nn.Parameter]:
    """What becomes of the condition is a choice of its own."""
    return (p for name, p in unet.named_parameters() if not is_of_encoder(name))


CHOICE = tuning(
    "all weights of the network",
    _all,
    "full",
    FullSettings,
    7e-5,
)
