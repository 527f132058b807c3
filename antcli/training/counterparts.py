"""Drawing the source's counterparts of the target's images, and reading off them how far to go."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
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
from antcli.methods.build import said_limit
from antcli.methods.counterparts import (
    CHANCE,
    LADDER,
    PART,
    PASSED,
    Counterparts,
    Rung,
    asked_for,
    draws_of_each,
    shares,
)
from antcli.methods.places import Places, around, changes
from antcli.sources.source import Source
from antcli.training.inputs import (
    Inputs,
    SourceSamples,
    examples_of,
    images_of,
    metadata,
    sample_source,
    source_predict,
)
from antcli.training.source_dimension import SourceDimension, source_dimension

OWN, OWN_STEPS = 64, 15
"""Images of the source with which the target's are compared, and steps of drawing one."""
TRIALS = 3
"""Draws of each image by which a rung is judged, and by which it is seen what changed in it."""
ROUNDS = 2
"""Of drawing anew what has changed, and looking again: what is kept tells the source more of what
belongs beside it, and less changes."""
TITLE = "the source's counterparts of the target's images"


@dataclass(frozen=True)
class Chosen:
    """How counterparts are drawn."""

    noise: float
    """Share of the path up to which an image is noised."""
    t_limit: float
    anew: float
    """Share of an image that is drawn anew."""


@dataclass(frozen=True)
class CounterpartsDrawn:
    """So many counterparts have been drawn; at the end, in which way."""

    done: int
    total: int
    chosen: Chosen | None = None


def make_counterparts(
    inputs: Inputs, config: AdaptConfig, accelerator: Accelerator, out: Path
) -> Iterator[SourceSamples | SourceDimension | CounterpartsDrawn]:
    """Draw the counterparts and write them to `out`, with the limit in t that goes with them."""
    source, settings = inputs.source, config.counterparts
    flip = source.latent and config.training.flip
    images = examples_of(source, inputs.target.images, accelerator.device, flip=flip)
    sides = [_all(images, mirrored=mirrored) for mirrored in ((False, True) if flip else (False,))]
    drawing = _Drawing(source, settings.steps, accelerator, config.seed)
    path, side, changed = source.path, source.shape[-1], None
    if settings.noise:
        noise, t_limit = asked_for(settings.noise, path, side)
    else:
        rung, changed = yield from _climb(inputs, config, drawing, sides[0])
        noise, t_limit = shares(rung, path, side)
    t_limit = said_limit(config) or t_limit
    drawn: list[Tensor] = []
    draws = draws_of_each(settings, len(images))
    total = len(sides) * len(images) * draws
    for number, x_0 in enumerate(sides):
        parts: list[Tensor] = []
        there = changed if changed is None or not number else changed.flip(-1)
        for part in drawing.counterparts(x_0, draws, noise, there, number):
            parts.append(part)
            yield CounterpartsDrawn(sum(map(len, [*drawn, *parts])), total)
        drawn.append(torch.cat(parts))
    tensors = dict(zip(("x_0", "mirrored"), drawn, strict=False))
    chosen = Chosen(noise, t_limit, 1.0 if changed is None else float(changed.mean()))
    facts = {
        **metadata(inputs, config, TITLE),
        "ant.t_limit": repr(t_limit),
        "ant.draws": str(draws),
        "ant.noise": repr(noise),
        "ant.anew": repr(chosen.anew),
    }
    save_tensors(out, tensors, facts)
    yield CounterpartsDrawn(total, total, chosen)


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
    return Counterparts(examples, int(facts["ant.draws"]), t_limit, float(alpha / sigma))


def _climb(
    inputs: Inputs, config: AdaptConfig, drawing: _Drawing, x_0: Tensor
) -> Generator[SourceSamples | SourceDimension, None, tuple[Rung, Tensor | None]]:
    """The first rung on which the source draws nothing but its own, and what changes on it.

    Its own is what differs from images of the source, place by place, no more than by chance.
    """
    source, accelerator = inputs.source, drawing.accelerator
    own: list[Tensor] = []
    seeds = range(config.seed * OWN, (config.seed + 1) * OWN)
    for batch in sample_source(source, seeds, OWN_STEPS, accelerator):
        own.append(batch)
        yield SourceSamples(sum(map(len, own)), OWN)
    yield from source_dimension(source, torch.cat(own))
    places = Places.of(torch.cat(own))
    trials = _Trials(inputs, drawing, x_0, places)
    new, joined = places.new(inputs.target.images)
    for rung in LADDER:
        where = None
        if rung.reach is not None:
            if not PART[0] <= float(new.float().mean()) <= PART[1]:
                continue
            where = joined if rung.closely else new
        changed, anew = trials.near(where, rung)
        drawn = trials.draw(rung, changed)
        if trials.strange(drawn, anew) <= PASSED:
            break
    if changed is not None and rung.closely:
        changed = trials.closely(rung, drawn, anew)
    return rung, changed


class _Trials:
    """A few counterparts of each image, and what is seen of them."""

    def __init__(self, inputs: Inputs, drawing: _Drawing, x_0: Tensor, places: Places) -> None:
        self.inputs, self.drawing, self.x_0, self.places = inputs, drawing, x_0, places
        self.by_chance = places.by_chance(len(x_0), CHANCE)

    def near(self, where: Tensor | None, rung: Rung) -> tuple[Tensor | None, Tensor]:
        """How much of each place of all x_0 is drawn anew, None being all; and which places are.

        An image and its mirror image have the same.
        """
        if where is None:
            return None, torch.ones(self.places.shape, dtype=torch.bool)
        both = (where | where.flip(-1))[None]
        return self._of_x_0(both, rung), _around(both, rung, self.places.shape)[0, 0] > 0.5

    def draw(self, rung: Rung, changed: Tensor | None, number: int = 0) -> Tensor:
        """Images uint8, `TRIALS` of each x_0 in turn; those of another `number` are others."""
        source = self.inputs.source
        noise, _ = shares(rung, source.path, source.shape[-1])
        drawn = self.drawing.trial(self.x_0, noise, changed, number)
        return images_of(source, drawn, self.drawing.accelerator.device)

    def strange(self, drawn: Tensor, anew: Tensor) -> float:
        """Share of the places drawn anew that differ from those of the source's images."""
        # Draw by draw: those of one image are nearer to each other than to any chance.
        each = [self.places.distances(drawn[draw::TRIALS]) for draw in range(TRIALS)]
        differs = torch.stack(each).mean(0) > self.by_chance
        return float(differs[anew].float().mean())

    def closely(self, rung: Rung, drawn: Tensor, anew: Tensor) -> Tensor:
        """How much of each place of each x_0 is drawn anew: of `anew` where it has changed."""
        changed = self._of_x_0(changes(self.inputs.target.images, drawn, anew), rung)
        for number in range(1, ROUNDS):
            drawn = self.draw(rung, changed, number)
            changed = self._of_x_0(changes(self.inputs.target.images, drawn, anew), rung)
        return changed

    def _of_x_0(self, new: Tensor, rung: Rung) -> Tensor:
        height, width = self.inputs.source.shape[-2:]
        return _around(new, rung, (height, width)).to(self.drawing.accelerator.device)


def _around(new: Tensor, rung: Rung, size: tuple[int, int]) -> Tensor:
    assert rung.reach is not None
    return around(new, rung.reach, size)


class _Drawing:
    """The frozen source, asked to draw."""

    def __init__(self, source: Source, steps: int, accelerator: Accelerator, seed: int) -> None:
        self.source, self.steps, self.accelerator = source, steps, accelerator
        self.seed, self.predict = seed, source_predict(source, accelerator)

    def counterparts(
        self, x_0: Tensor, draws: int, share: float, changed: Tensor | None, number: int
    ) -> Iterator[Tensor]:
        """So many draws of each x_0 in turn, in parts, on the CPU; of pixels as uint8.

        `number` is 0, or 1 where the x_0 are mirrored: these have noise of their own.
        """
        first = len(x_0) * draws * (2 * self.seed + number)
        yield from self._resampled(x_0, draws, share, changed, first, "counterparts")

    def trial(self, x_0: Tensor, share: float, changed: Tensor | None, number: int) -> Tensor:
        """A few draws, as `counterparts` gives them; those of another `number` are others."""
        first = len(x_0) * TRIALS * (ROUNDS * self.seed + number)
        return torch.cat(list(self._resampled(x_0, TRIALS, share, changed, first, "trial")))

    def _resampled(
        self,
        x_0: Tensor,
        draws: int,
        share: float,
        changed: Tensor | None,
        first: int,
        stream: str,
    ) -> Iterator[Tensor]:
        path, latent = self.source.path, self.source.latent
        limit = path.limit(share)
        which = torch.arange(len(x_0)).repeat_interleave(draws)
        at_once = images_at_once((len(which), *x_0.shape[1:]))
        for part in which.split(at_once):
            seeds: Sequence[int] = range(first, first + len(part))
            first += len(part)
            found = resample(
                self.predict,
                path,
                x_0[part].to(self.accelerator.device),
                limit,
                seeds,
                steps=self.steps,
                stream=stream,
                clip=not latent,
                changed=changed if changed is None or len(changed) == 1 else changed[part],
            )
            yield found.cpu() if latent else to_uint8(found.cpu())


def _all(images: Examples, *, mirrored: bool) -> Tensor:
    return images.take(torch.arange(len(images)), torch.full((len(images),), mirrored))
