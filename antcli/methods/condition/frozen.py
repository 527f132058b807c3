"""What a source makes of its condition stays what it is.

New conditions are embeddings beside it, which train with the rest.
"""

from antcli.methods.choice import Choice
from antcli.methods.trainable.denoiser import Denoiser


def _keep(network: Denoiser) -> None:
    """Nothing else trains it, either: see `trainable/full.py`."""


CHOICE = Choice("what the source makes of its condition stays", _keep)
