"""What a source makes of its condition trains with the rest, from what it is."""

from antcli.methods.choice import Choice
from antcli.methods.trainable.denoiser import Denoiser


def _tune(network: Denoiser) -> None:
    """Of a source that has such, as `check_encoder` sees to."""
    network.take_encoder()


CHOICE = Choice("what the source makes of its condition trains, too", _tune)
