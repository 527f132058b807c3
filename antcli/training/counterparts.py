"""Drawing the source's counterparts of the target's images, and reading off them how far to go."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional

from antcli.artifacts import load_metadata, load_tensors, save_tensors
from antcli.config import AdaptConfig
from antcli.diffusion.examples import Examples, Latents, Pixels
from antcli.diffusion.sampling import SchedulerName
from antcli.methods.alignment import alignment, shifted
from antcli.methods.build import said_limit
from antcli.methods.counterparts import (
    REFERENCE_SIDE,
    Counterparts,
    asked_for,
    draws_of_each,
    shares,
)
from antcli.methods.own import Own
from antcli.methods.transplants import NOISE, Transplants, fitting, is_bound, newness, put_on
from antcli.randomness import generator
from antcli.sources.source import Source
from antcli.training.inputs import Inputs, metadata
from antcli.training.ladder import Drawing, Tried, climb
from antcli.training.source_dimension import SourceDimension, source_dimension
from antcli.training.source_samples import SourceSamples, examples_of, images_of, sample_source

OWN, OWN_STEPS = 64, 15
"""Images of the source with which the target's are compared, and steps of drawing one."""
SCHEDULER: SchedulerName = "dpm++"
"""In a dozen steps `ddpm` draws paler images than the source does: the pairs then teach contrast.
Photographs of babies come nearer so (benchmarks/LOG.md)."""
SEEN = 5
"""Counterparts of an image that say how much of each of its places is new."""
TITLE = "the source's counterparts of the target's images"


@dataclass(frozen=True)
class Chosen:
    """How counterparts are drawn."""

    noise: float
    """Share of the path up to which an image is noised."""
    t_limit: float
    anew: float
    """Share of an image that is drawn anew."""
    condition: str = ""
    """Of which images, where they are of several domains."""
    said: bool = False
    """Whether the noise was said, not read off the images."""
    bound: bool = False
    """Whether what is new has the colour of something beside it, and keeps it on other images."""


@dataclass(frozen=True)
class CounterpartsDrawn:
    """So many counterparts have been drawn; at the end, in which way."""

    done: int
    total: int
    chosen: Chosen | None = None


CounterpartsRecord = SourceSamples | SourceDimension | Tried | CounterpartsDrawn


def make_counterparts(
    inputs: Inputs, config: AdaptConfig, accelerator: Accelerator, out: Path
) -> Iterator[CounterpartsRecord]:
    """Draw the counterparts and write them to `out`, with the limit in t that goes with them.

    Those of each domain of the target in their own way; the limit is the highest of all.
    """
    source, settings = inputs.source, config.counterparts
    flip = source.latent and config.training.flip
    images = examples_of(source, inputs.target.images, accelerator.device, flip=flip)
    sides = [_all(images, mirrored=mirrored) for mirrored in ((False, True) if flip else (False,))]
    drawing = Drawing(source, settings.steps, accelerator, config.seed)
    own, ways = yield from _ways(inputs, config, drawing, sides[0])
    t_limit = said_limit(config) or max(way.t_limit for way in ways)
    drawn: list[Tensor] = []
    draws = draws_of_each(settings, len(images))
    total = len(sides) * len(images) * draws
    for number, x_0 in enumerate(sides):
        parts: list[Tensor] = []
        first = total // len(sides) * (2 * config.seed + number)
        for way in ways:
            changed = way.changed
            if changed is not None and number:
                changed = changed.flip(-1)
            seeds = [first + image * draws + k for image in way.images for k in range(draws)]
            of = x_0[way.images]
            given = of, way.noise, changed, seeds, "counterparts", SCHEDULER
            for part in drawing.draw(*given):
                parts.append(part)
                yield CounterpartsDrawn(sum(map(len, [*drawn, *parts])), total)
        drawn.append(torch.cat(parts)[_in_order(ways, draws)])
    tensors = dict(zip(("x_0", "mirrored"), drawn, strict=False))
    if settings.transplants and any(way.closely for way in ways):
        each = drawn[0].unflatten(0, (-1, draws))
        tensors |= _transplants(inputs, ways, own, each, drawing, flip=flip)
    facts = {
        **metadata(inputs, config, TITLE),
        "ant.t_limit": repr(t_limit),
        "ant.draws": str(draws),
        "ant.noise": ",".join(repr(way.noise) for way in ways),
        "ant.anew": ",".join(repr(way.anew) for way in ways),
    }
    save_tensors(out, tensors, facts)
    for way in ways:
        bound = "fitting" in tensors and is_bound(tensors["fitting"][way.images])
        chosen = Chosen(
            way.noise, t_limit, way.anew, way.domain, said=bool(settings.noise), bound=bound
        )
        yield CounterpartsDrawn(total, total, chosen)


@dataclass(frozen=True)
class _Way:
    """How the counterparts of the images of one domain are drawn."""

    domain: str
    images: Sequence[int]
    noise: float
    t_limit: float
    changed: Tensor | None
    closely: bool = False
    """Whether that is what changed in each image."""

    @property
    def anew(self) -> float:
        """Share of an image that is drawn anew."""
        return 1.0 if self.changed is None else float(self.changed.mean())


def _in_order(ways: Sequence[_Way], draws: int) -> Tensor:
    """Where the draws of each image are among those of all ways, one way after the other."""
    images = torch.tensor([image for way in ways for image in way.images])
    return (images.argsort()[:, None] * draws + torch.arange(draws)).flatten()


def _transplants(
    inputs: Inputs,
    ways: Sequence[_Way],
    own: Tensor,
    drawn: Tensor,
    drawing: Drawing,
    *,
    flip: bool,
) -> dict[str, Tensor]:
    """What is new in places of the images of some domains, and on which of its own images the
    source is told of it.

    `own` are uint8 [M, 3, H, W], `drawn` x_0 [N, draws, C, h, w].
    """
    source, device = inputs.source, drawing.accelerator.device
    new = torch.zeros(len(drawn), 1, *inputs.target.images.shape[-2:])
    hosts = torch.full((len(drawn), len(own)), -1)
    shifts = torch.zeros(*hosts.shape, 2, dtype=torch.long)
    for way in ways:
        if way.closely:
            assert way.changed is not None
            images, of = inputs.target.images[way.images], drawn[way.images][:, :SEEN]
            seen = images_of(source, of.flatten(0, 1), device)
            new[way.images] = newness(images, seen, way.changed)
            fits = fitting(images, new[way.images], way.changed, own)
            by = alignment(seen, new[way.images], own)
            hosts[way.images], shifts[way.images] = fits, by.take_along_dim(fits[..., None], 1)
    found = {"hosts": own}
    if source.latent:
        # As many of each as there are counterparts: each has to pass the autoencoder.
        each, order = drawn.shape[1], generator(drawing.seed, "hosts")
        some = torch.stack([torch.randperm(len(own), generator=order)[:each] for _ in hosts])
        hosts, by = hosts.gather(1, some), shifts.take_along_dim(some[..., None], 1).flatten(0, 1)
        images = shifted(inputs.target.images.repeat_interleave(each, 0), by)
        new = shifted(new.repeat_interleave(each, 0), by)
        found["worn"] = put_on(images, new, own, hosts)
        new = functional.interpolate(new, drawn.shape[-2:], mode="area")
    tensors = {}
    for name, images in found.items():
        x_0 = examples_of(source, images, device, flip=flip)
        tensors[name] = x_0.x_0.cpu()
        if isinstance(x_0, Latents) and x_0.mirrored is not None:
            tensors[f"{name}_mirrored"] = x_0.mirrored.cpu()
    return {**tensors, "new": new, "fitting": hosts} | ({} if source.latent else {"shifts": shifts})


def _ways(
    inputs: Inputs, config: AdaptConfig, drawing: Drawing, x_0: Tensor
) -> Generator[CounterpartsRecord, None, tuple[Tensor, list[_Way]]]:
    """Images of the source, and the way of each domain: what the settings say of all, no images
    being needed then, or what is read off its images.
    """
    source, noise = inputs.source, config.counterparts.noise
    path, side = source.path, source.shape[-1]
    if noise:
        both = asked_for(noise, path, side)
        ways = [_Way(name, of, *both, None) for name, of in inputs.domains.items()]
        return inputs.target.images[:0], ways
    drawn: list[Tensor] = []
    seeds = range(config.seed * OWN, (config.seed + 1) * OWN)
    for batch in sample_source(source, seeds, OWN_STEPS, drawing.accelerator):
        drawn.append(batch)
        yield SourceSamples(sum(map(len, drawn)), OWN)
    own, ways = Own(torch.cat(drawn)), []
    yield from source_dimension(source, own.images)
    for name, of in inputs.domains.items():
        rung, changed = yield from climb(own, inputs.target.images[of], drawing, x_0[of])
        ways.append(_Way(name, of, *shares(rung, path, side), changed, rung.closely > 0))
    return own.images, ways


def load_counterparts(file: Path, source: Source, device: torch.device) -> Counterparts:
    """Those that `make_counterparts` wrote."""
    tensors, facts = load_tensors(file), load_metadata(file)
    t_limit = float(facts["ant.t_limit"])
    path = source.path
    at = path.steps(1, path.limit(t_limit))[:1]
    alpha, sigma = path.alpha_sigma(at, torch.empty(1, dtype=torch.float64))

    def read(name: str, mirrored: str) -> Examples:
        x_0, other = tensors[name].to(device), tensors.get(mirrored)
        if not source.latent:
            return Pixels(x_0)
        return Latents(x_0, None if other is None else other.to(device))

    transplants = None
    if "hosts" in tensors:
        least = path.at(path.share_where(NOISE * source.shape[-1] / REFERENCE_SIDE))
        worn = read("worn", "worn_mirrored") if "worn" in tensors else None
        hosts, new = read("hosts", "hosts_mirrored"), tensors["new"].to(device)
        put = tensors["fitting"], least, worn, tensors.get("shifts")
        transplants = Transplants(hosts, new, *put)
    draws, bridge = int(facts["ant.draws"]), float(alpha / sigma)
    return Counterparts(read("x_0", "mirrored"), draws, t_limit, bridge, transplants)


def _all(images: Examples, *, mirrored: bool) -> Tensor:
    return images.take(torch.arange(len(images)), torch.full((len(images),), mirrored))
