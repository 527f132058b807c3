"""Sampling along any path, from all noise to none: one generator for each image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from antcli.diffusion.path import Path
from antcli.randomness import generator

SchedulerName = Literal["dpm++", "ddim", "ddpm"]
PIXELS_AT_ONCE = 2**18
MOST_AT_ONCE = 64
FASTEST_ON_CPU = 16
"""Images of a pass without a way back: the maps of more leave the caches (benchmarks/LOG.md)."""
BYTES_PER_PIXEL = 2**14
"""Of a GPU's memory that a pass takes, float32, no gradient: a U-Net of 128 channels at full
resolution keeps some fifteen maps of them on its way down, and works on a few more."""


def images_at_once(shape: Sequence[int], device: torch.device | str = "cpu") -> int:
    """How many tensors [C, H, W] a network takes together: as many as the free memory holds.

    On a CPU as many as a small card would hold: more would not be faster.
    """
    pixels, room = shape[-2] * shape[-1], PIXELS_AT_ONCE
    if torch.device(device).type == "cuda":
        room = max(room, torch.cuda.mem_get_info(device)[0] // BYTES_PER_PIXEL)
    return min(MOST_AT_ONCE, max(1, room // pixels))


def _samples_at_once(shape: Sequence[int], device: torch.device | str) -> int:
    """The same of samples, which are quickest on a CPU in smaller batches."""
    on_cpu = torch.device(device).type == "cpu"
    return min(FASTEST_ON_CPU if on_cpu else MOST_AT_ONCE, images_at_once(shape, device))


@torch.no_grad()
def sample(
    predict: Callable[..., Tensor],
    path: Path,
    seeds: Sequence[int],
    shape: tuple[int, int, int],
    *,
    scheduler: SchedulerName = "dpm++",
    steps: int = 25,
    limit: float | None = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    clip: bool = True,
    conditions: Tensor | None = None,
) -> Iterator[Tensor]:
    """x_0 from its seed, yielded in batches of float32 [<=B, *shape]; in [-1, 1] if `clip`.

    `predict(x_t, t)` is eps_theta; with `conditions`, [len(seeds), size], it is asked for that of
    each image as `predict(x_t, t, condition=...)`. x_0 depends on its own seed alone. Clipping is
    of x_0 at every step: without it, a small pixel model burns its colours out within 25 steps.
    Latents have no such bounds. With a `limit` the first t is the last one below it, where x_t is
    taken for all noise. Where the memory does not suffice for a batch, it is halved.
    """

    def draw(part: slice) -> Tensor:
        noise, asked = Noise(seeds[part], "sample", shape, device), predict
        if conditions is not None:
            asked = partial(predict, condition=conditions[part].to(device))
        times, solver = path.steps(steps, limit), SOLVERS[scheduler](noise)
        return _bounded(along(asked, path, noise(), times, solver, clip), clip)

    yield from in_parts(draw, len(seeds), batch_size or _samples_at_once(shape, device))


def in_parts(draw: Callable[[slice], Tensor], count: int, at_once: int) -> Iterator[Tensor]:
    """What is drawn for so many images, so many together; half as many where memory is short."""
    start = 0
    while start < count:
        try:
            found = draw(slice(start, start + at_once))
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
            at_once //= 2
            continue
        start += at_once
        yield found


@torch.no_grad()
def resample(
    predict: Callable[[Tensor, Tensor], Tensor],
    path: Path,
    x_0: Tensor,
    limit: float,
    seeds: Sequence[int],
    *,
    steps: int,
    scheduler: SchedulerName = "ddpm",
    stream: str = "resample",
    clip: bool = True,
    changed: Tensor | None = None,
) -> Tensor:
    """What a model makes of x_0, [B, C, H, W], noised to t = `limit` and denoised again.

    SDEdit (Meng et al. 2022). Each image has its own noise, by its seed and the name of the
    `stream`. `changed`, in [0, 1] and broadcast to x_0, says how much of each place is the model's;
    the rest is x_0's, which the model is told at every step.
    """
    noise = Noise(seeds, stream, x_0.shape[1:], x_0.device)
    times = path.steps(steps, limit)
    x_t = path.add_noise(x_0, noise(), times[:1].expand(len(x_0)))
    known = None if changed is None else (x_0, changed)
    return _bounded(along(predict, path, x_t, times, SOLVERS[scheduler](noise), clip, known), clip)


class Noise:
    """Standard normal noise [B, *shape], drawn anew at each call: a generator for each image."""

    def __init__(
        self,
        seeds: Sequence[int],
        stream: str,
        shape: Sequence[int],
        device: torch.device | str,
    ) -> None:
        self.generators = [generator(seed, stream) for seed in seeds]
        self.shape, self.device = tuple(shape), device

    def __call__(self) -> Tensor:
        draws = [torch.randn(self.shape, generator=g) for g in self.generators]
        return torch.stack(draws).to(self.device)


def _bounded(x_0: Tensor, clip: bool) -> Tensor:
    return x_0.clamp(-1, 1) if clip else x_0


@torch.no_grad()
def along(
    predict: Callable[[Tensor, Tensor], Tensor],
    path: Path,
    x_t: Tensor,
    times: Tensor,
    solver: Ddim,
    clip: bool,
    known: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """What a solver makes of x_t of the first of `times` [N + 1] at the last of them.

    `known`: an x_0, and how much of each of its places is not.
    """
    for t, after in itertools.pairwise(times.tolist()):
        at = torch.full((len(x_t),), t)  # on the CPU, where a look at it costs nothing
        eps = predict(x_t, at).float()
        x_0 = _bounded(path.to_x_0(eps, x_t, at), clip)
        if known is not None:
            x_0 = torch.lerp(known[0], x_0, known[1])
        x_t = solver.step(x_t, x_0, eps, *_level(path, t), *_level(path, after))
    return x_t


def _level(path: Path, t: float) -> tuple[float, float]:
    """Alpha and sigma at one t, as numbers."""
    alpha, sigma = path.alpha_sigma(torch.tensor([t]), torch.empty(1, dtype=torch.float64))
    return float(alpha), float(sigma)


class Ddim:
    """Song et al. 2021, Eq. 12 with no noise; on the straight path, Euler's method."""

    def __init__(self, noise: Callable[[], Tensor]) -> None:
        self.noise = noise

    def step(
        self, x_t: Tensor, x_0: Tensor, eps: Tensor, a_t: float, s_t: float, a_s: float, s_s: float
    ) -> Tensor:
        """From alpha a_t and sigma s_t to a_s and s_s."""
        return a_s * x_0 + s_s * eps


class Ddpm(Ddim):
    """The posterior of x_s given x_t and x_0 (Ho et al. 2020, Eq. 6 and 7), of any two points."""

    def step(
        self, x_t: Tensor, x_0: Tensor, eps: Tensor, a_t: float, s_t: float, a_s: float, s_s: float
    ) -> Tensor:
        """From alpha a_t and sigma s_t to a_s and s_s."""
        kept = a_t / a_s
        added = s_t**2 - (kept * s_s) ** 2
        mean = (a_s * added * x_0 + kept * s_s**2 * x_t) / s_t**2
        return mean + math.sqrt(added) * s_s / s_t * self.noise() if s_s else mean


class DpmSolver(Ddim):
    """SDE-DPM-Solver++(2M), midpoint; Lu et al. 2022 (arXiv 2211.01095), App. D.

    First order at the first step and at the last, which ends without noise.
    """

    last: tuple[Tensor, float] | None = None
    """x_0 and log(alpha / sigma) of the step before."""

    def step(
        self, x_t: Tensor, x_0: Tensor, eps: Tensor, a_t: float, s_t: float, a_s: float, s_s: float
    ) -> Tensor:
        """From alpha a_t and sigma s_t to a_s and s_s."""
        if not s_s:
            return a_s * x_0
        here = math.log(a_t / s_t)
        h = math.log(a_s / s_s) - here
        change = -math.expm1(-2 * h)
        x_s = s_s / s_t * math.exp(-h) * x_t + a_s * change * x_0
        if self.last is not None:
            before, there = self.last
            x_s = x_s + a_s * change * h / (here - there) / 2 * (x_0 - before)
        self.last = x_0, here
        return x_s + s_s * math.sqrt(change) * self.noise()


SOLVERS: dict[SchedulerName, type[Ddim]] = {"dpm++": DpmSolver, "ddim": Ddim, "ddpm": Ddpm}
