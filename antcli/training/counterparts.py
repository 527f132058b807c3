"""Drawing the source's counterparts of the target's images, and reading off them how far to go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.artifacts import load_metadata, load_tensors, save_tensors
from antcli.config import AdaptConfig
from antcli.diffusion.examples import Examples, Latents, Pixels
from antcli.diffusion.sampling import images_at_once, resample
from antcli.images.grid import to_uint8
from antcli.methods.counterparts import (
    JOINED,
    NEW_FROM,
    REFERENCE_SIDE,
    Counterparts,
    CounterpartSettings,
    colour_distance,
    joined,
    levels,
)
from antcli.sources.source import Source
from antcli.training.inputs import (
    Inputs,
    SourceSamples,
    examples_of,
    metadata,
    sample_source,
    source_predict,
)
from antcli.training.source_dimension import SourceDimension, source_dimension

OWN, OWN_STEPS = 64, 15
"""Images of the source with whose colours the target's are compared, and steps of drawing one."""
TITLE = "the source's counterparts of the target's images"


@dataclass(frozen=True)
class CounterpartsDrawn:
    """So many counterparts have been drawn; at the end, what the images' colours are."""

    done: int
    total: int
    new_colours: bool | None = None
    colour_distance: float | None = None
    """By which that was told; None where it was said."""


def make_counterparts(
    inputs: Inputs, config: AdaptConfig, accelerator: Accelerator, out: Path
) -> Iterator[SourceSamples | SourceDimension | CounterpartsDrawn]:
    """Draw the counterparts and write them to `out`, with the limit in t that goes with them."""
    source, settings = inputs.source, config.counterparts
    new_colours, distance = settings.colours == "new", None
    if settings.colours == "auto":
        own: list[Tensor] = []
        for batch in sample_source(source, OWN, OWN_STEPS, config.seed, accelerator):
            own.append(batch)
            yield SourceSamples(sum(map(len, own)), OWN)
        distance = colour_distance(inputs.target.images, torch.cat(own))
        yield from source_dimension(source, torch.cat(own))
        new_colours = distance >= NEW_FROM
    side = source.shape[-1]
    resampled, t_limit = levels(new_colours, source.path, side)
    join = None if new_colours else source.path.share_where(JOINED * side / REFERENCE_SIDE)
    flip = source.latent and config.training.flip
    images = examples_of(source, inputs.target.images, accelerator.device, flip=flip)
    sides = [_all(images, mirrored=mirrored) for mirrored in ((False, True) if flip else (False,))]
    drawing = _Drawing(source, settings, accelerator, config.seed)
    drawn: list[Tensor] = []
    total = len(sides) * len(images) * settings.draws
    for number, x_0 in enumerate(sides):
        parts: list[Tensor] = []
        for part in drawing.resampled(x_0, resampled, join, number):
            parts.append(part)
            yield CounterpartsDrawn(sum(map(len, [*drawn, *parts])), total)
        drawn.append(torch.cat(parts))
    tensors = dict(zip(("x_0", "mirrored"), drawn, strict=False))
    facts = {
        **metadata(inputs, config, TITLE),
        "ant.t_limit": repr(t_limit),
        "ant.draws": str(settings.draws),
        "ant.new_colours": str(int(new_colours)),
    }
    save_tensors(out, tensors, facts)
    yield CounterpartsDrawn(total, total, new_colours, distance)


def load_counterparts(file: Path, source: Source, device: torch.device) -> Counterparts:
    """Those that `make_counterparts` wrote."""
    tensors, facts = load_tensors(file), load_metadata(file)
    t_limit = float(facts["ant.t_limit"])
    path = source.path
    at = path.steps(1, path.limit(t_limit))[:1]
    alpha, sigma = path.alpha_sigma(at, torch.empty(1, dtype=torch.float64))
    x_0, mirrored = tensors["x_0"].to(device), tensors.get("mirrored")
    if mirrored is not None:
        mirrored = mirrored.to(device)
    examples = Latents(x_0, mirrored) if source.latent else Pixels(x_0)
    new_colours = bool(int(facts["ant.new_colours"]))
    bridge = float(alpha / sigma)
    return Counterparts(examples, int(facts["ant.draws"]), t_limit, bridge, new_colours)


class _Drawing:
    """The frozen source, asked to draw."""

    def __init__(
        self, source: Source, settings: CounterpartSettings, accelerator: Accelerator, seed: int
    ) -> None:
        self.source, self.settings, self.accelerator = source, settings, accelerator
        self.seed, self.predict = seed, source_predict(source, accelerator)

    def resampled(
        self, x_0: Tensor, share: float, join: float | None, number: int
    ) -> Iterator[Tensor]:
        """Draws of each x_0 in turn, in parts, on the CPU; of pixels as uint8.

        Each from this share of the path; then, but for what has changed, from `join`. `number` is
        0, or 1 where the x_0 are mirrored: these have noise of their own.
        """
        all_of = x_0.repeat_interleave(self.settings.draws, 0)
        first, at_once = len(all_of) * (2 * self.seed + number), images_at_once(x_0.shape)
        for start in range(0, len(all_of), at_once):
            part = all_of[start : start + at_once].to(self.accelerator.device)
            seeds = range(first + start, first + start + len(part))
            found = self._resample(part, share, seeds, "counterparts")
            if join is not None:
                found = self._resample(joined(part, found), join, seeds, "join")
            yield found.cpu() if self.source.latent else to_uint8(found.cpu())

    def _resample(self, x_0: Tensor, share: float, seeds: Sequence[int], stream: str) -> Tensor:
        path, latent = self.source.path, self.source.latent
        limit, steps = path.limit(share), self.settings.steps
        return resample(
            self.predict, path, x_0, limit, seeds, steps=steps, stream=stream, clip=not latent
        )


def _all(images: Examples, *, mirrored: bool) -> Tensor:
    return images.take(torch.arange(len(images)), torch.full((len(images),), mirrored))
