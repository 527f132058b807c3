"""Plain fine-tuning: every weight of the network trains."""

from antcli.methods.trainable.denoiser import Limited
from antcli.methods.trainable.tuned import tuning
from antcli.settings import settings


@settings
class FullSettings(Limited):
    """Of plain fine-tuning."""


CHOICE = tuning(
    "all weights of the network",
    lambda unet, settings: unet.parameters(),
    "full",
    FullSettings,
    2e-4,  # At the rate of adaptors the network comes apart: benchmarks/results.
)
