"""What it does to leave out the limit in t, above which the source predicts alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from diffusers import ModelMixin
from torch import Tensor

from antcli.devices import resolve_device
from antcli.methods.trainable.denoiser import Denoiser
from antcli.sources.source import Source

SAMPLES, STEPS = 4, 10


@dataclass(frozen=True)
class Change:
    """How far the merged network is from the source along the way of samples: a mean square of eps.

    The samples are those of the run, with its limit, from its own noise. Eps itself has mean square
    1. Above the limit nothing was trained, so what the network says there is by chance.
    """

    limit: str
    above: float
    below: float

    @property
    def told(self) -> str:
        """In words."""
        return (
            f"eps changes by {self.above:.2g} above it too (mean square along the way of "
            f"{SAMPLES} samples, whose own is 1), where below it the adaptation changes it by "
            f"{self.below:.2g}"
        )


def change_by_ungating(
    network: Denoiser, unet: ModelMixin, source: Source, device: str = "auto"
) -> Change:
    """Measure it for a network with a limit and `unet`, what it merges to."""
    assert network.limit is not None
    limit, place = network.limit, resolve_device(device)
    network, merged = network.to(place), Denoiser(unet, network.convention).to(place)
    squares: dict[bool, list[float]] = {True: [], False: []}

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        said, changed = network.source(x_t, t), merged(x_t, t)
        above = bool((t >= limit).all())
        squares[above].append(float((changed - said).square().mean()))
        return said if above else changed

    steps = max(STEPS, math.ceil(1 / network.t_limit))  # of which one at least is below
    for _ in source.sample(predict, range(SAMPLES), steps=steps, device=place):
        pass
    for measured in (network, unet):  # what is written of them next is beside tensors on the CPU
        measured.to("cpu")
    share = f"t = {limit:g}, {network.t_limit:.2f} of the path of noise"
    return Change(share, fmean(squares[True] or [0.0]), fmean(squares[False]))
