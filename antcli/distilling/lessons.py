"""What a student learns from: what its teacher makes of noised samples of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path as File

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.artifacts import load_tensors, save_tensors
from antcli.diffusion.examples import Examples
from antcli.diffusion.path import Path
from antcli.diffusion.sampling import images_at_once
from antcli.distilling.settings import DistillConfig
from antcli.distilling.windows import Window, taught, windows
from antcli.methods.trainable.denoiser import Denoiser
from antcli.randomness import balanced_choice, generator, normal
from antcli.sources.source import Source
from antcli.training.source_samples import predicting

FIRST_SEED = 2_000_000
"""Of the teacher's samples, far from the seeds that people look at."""
SAMPLING_STEPS = 12
"""Of these samples."""
AT_ONCE = 32
"""As many samples at most go through all windows before they are kept."""


@dataclass(frozen=True)
class Taught:
    """The teacher has been through all windows from so many of its samples."""

    done: int
    total: int


@dataclass(frozen=True)
class Lessons(Examples):
    """For each of N samples and K windows, the line on which the student's step has to go.

    `x_0` and `eps` are [N, K, C, H, W]: x_t and the answer in one.
    """

    eps: Tensor
    t: Tensor
    """[K], where the student is asked."""
    ends: Tensor
    """[K], where its lines end."""

    def draw(self, size: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Which samples and which windows `size` examples are of: of each window as many, each
        sample as often.
        """
        count = len(self.t)
        window = (torch.arange(size) + step) % count
        return balanced_choice(len(self), size, generator(seed, "lessons", step)), window


def draw_lessons(
    teacher: Denoiser,
    source: Source,
    config: DistillConfig,
    accelerator: Accelerator,
    out: File,
) -> Iterator[Taught]:
    """Write `Lessons` to `out`, some samples at a time; those that are there already are kept.

    The images that the teacher was adapted to play no part.
    """
    path, clip, device = source.path, not source.latent, accelerator.device
    first = seeds_of(config)[0]
    todo = windows(path, config.sampler)
    at_once = min(AT_ONCE, images_at_once(source.shape, device))
    found = load_tensors(out) if out.exists() else {}
    predict = predicting(teacher.to(device), accelerator)
    with teacher.settled():
        for start in range(_count(found), config.images, at_once):
            done = min(start + at_once, config.images)
            seeds = range(first + start, first + done)
            condition = teacher.in_turn(seeds)
            drawn = {"steps": SAMPLING_STEPS, "device": device, "conditions": condition}
            x_0 = torch.cat(list(source.sample(predict, seeds, **drawn)))
            asked = partial(predict, condition=None if condition is None else condition.to(device))
            lines = [
                taught(asked, path, x_t, window, config.window_steps, clip=clip)
                for x_t, window in _starts(path, x_0, todo, config.seed, seeds)
            ]
            for name, of in zip(("x_0", "eps"), zip(*lines, strict=True), strict=True):
                new = torch.stack(of, 1).cpu()
                found[name] = torch.cat([found[name], new]) if name in found else new
            save_tensors(out, found, {})
            yield Taught(done, config.images)


def seeds_of(config: DistillConfig) -> range:
    """Of the teacher's samples."""
    first = FIRST_SEED + config.seed * config.images
    return range(first, first + config.images)


def are_whole(file: File, config: DistillConfig) -> bool:
    """Whether `draw_lessons` came to its end."""
    return file.exists() and _count(load_tensors(file)) == config.images


def _count(lessons: Mapping[str, Tensor]) -> int:
    return len(lessons["x_0"]) if lessons else 0


def load_lessons(file: File, source: Source, config: DistillConfig) -> Lessons:
    """Those that `draw_lessons` wrote, on the CPU."""
    tensors = load_tensors(file)
    todo = windows(source.path, config.sampler)
    t, ends = (torch.tensor(at) for at in zip(*((w.t, w.end) for w in todo), strict=True))
    return Lessons(tensors["x_0"], tensors["eps"], t, ends)


def _starts(
    path: Path, x_0: Tensor, todo: Sequence[Window], seed: int, samples: Sequence[int]
) -> Iterator[tuple[Tensor, Window]]:
    """x_t where each window begins: of the first it is all noise, as for a sampler."""
    for k, window in enumerate(todo):
        eps = normal(seed, "windows", k, samples, x_0.shape[1:]).to(x_0)
        t = torch.full((len(x_0),), window.t)
        yield (path.add_noise(x_0, eps, t) if k else eps), window
