"""Frechet distance against steps, by sampler and by where on the path the network is asked.

    python benchmarks/samplers.py [--source avatars-64 | --run RUN] [--samplers dpm++ unipc ...]
        [--spacings trailing "from .8" karras] [--steps 4 6 8 10 15 25 50] [--samples 500]
        [--first 10000]

Of the source `avatars`, or another one, against held-out drawings of its own domain, and with
`--run` of a finished run against those of its target, in the judges' features, the same seeds,
from `--first` on, for all. Rows are kept in benchmarks/results/samplers.json, none measured twice;
the table is benchmarks/results/samplers.md: the judge's distance / the second judge's.

`trailing` are steps evenly apart in t; `from .8` the same from .8 of the path on, x_t there taken
for all noise. `karras` are those of Karras et al. 2022 (Eq. 5, rho = 7), between the most and the
least noise of the path. `unipc`, which the package has not, is diffusers'. x_0 is clipped at every
step, of all alike.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ablation import HERE
from diffusers import UniPCMultistepScheduler
from rows import SOURCE, provenance
from table import made_by
from torch import Tensor
from torch.nn import functional
from way_left import FIRST_SAMPLE, JUDGED, JUDGES, distance

from antcli.artifacts import write_json
from antcli.devices import make_accelerator
from antcli.diffusion.path import BetaPath
from antcli.diffusion.sampling import SOLVERS, Noise, images_at_once, sample
from antcli.images.grid import to_float, to_uint8
from antcli.methods.choice import Predict
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources.source import Source, find_source

RESULT = HERE / "results" / "samplers"
UNIPC, DOMAIN = "unipc", "avatars"
SAMPLERS = (*SOLVERS, UNIPC)
LATE = {"from .9": 0.9, "from .8": 0.8, "from .7": 0.7}
"""Of the path, as much as is not passed over at its noisy end."""
SPACINGS = ("trailing", *LATE, "karras")
RHO = 7
NEAR = 1.02
"""As many times the distance of the most steps is near enough."""
MANY = 25
"""Of fewer steps it is not said which are enough."""
Row = dict[str, Any]


@dataclass(frozen=True)
class KarrasPath(BetaPath):
    """The same path, asked at the noise levels of Karras et al."""

    def steps(self, count: int, limit: float | None = None) -> Tensor:
        """Down to the least noise there is, and then to none."""
        t = torch.arange(self.span)
        alpha, sigma = self.alpha_sigma(t, torch.empty(1, dtype=torch.float64))
        levels = (sigma / alpha).log()
        most, least = (levels[place].exp() ** (1 / RHO) for place in (-1, 0))
        asked = torch.linspace(0, 1, count, dtype=torch.float64) * (least - most) + most
        return torch.cat([_where(levels, RHO * asked.log()), torch.tensor([-1.0]).double()])


def _where(levels: Tensor, asked: Tensor) -> Tensor:
    """The t, between whole ones too, at which rising `levels` are what is `asked`."""
    high = torch.searchsorted(levels, asked).clamp(1, len(levels) - 1)
    low = high - 1
    return low + ((asked - levels[low]) / (levels[high] - levels[low])).clamp(0, 1)


@dataclass(frozen=True)
class Model:
    """What is sampled, and what its samples should look like."""

    name: str
    domain: str
    predict: Predict
    source: Source


def model_of(folder: Path | None, name: str) -> Model:
    """A source, or what a run made of one."""
    if folder is None:
        source = find_source(name)
        return Model(name, DOMAIN, Denoiser(source.load(), source.convention), source)
    run = Run(folder)
    source, domain = check_run_source(run), run.facts()["target_folder"]
    return Model(folder.name, Path(domain).name, load_adapted(run, source), source)


def by_unipc(model: Model, seeds: Sequence[int], steps: int) -> Iterator[Tensor]:
    """As `sample`, with the solver of diffusers (Zhao et al. 2023), of order 2."""
    shape, clip = model.source.shape, not model.source.latent
    for part in torch.tensor(seeds).split(images_at_once(shape)):
        solver = UniPCMultistepScheduler(
            trained_betas=model.source.path.betas.numpy(),
            timestep_spacing="trailing",
            thresholding=clip,  # with this largest value it is clipping to [-1, 1]
            sample_max_value=1.0,
        )
        solver.set_timesteps(steps)
        x_t = Noise(part.tolist(), "sample", shape, "cpu")()
        for t in solver.timesteps:
            eps = model.predict(x_t, t.expand(len(x_t))).float()
            x_t = solver.step(eps, t, x_t).prev_sample
        yield x_t.clamp(-1, 1) if clip else x_t


@torch.no_grad()
def images(model: Model, sampler: str, spacing: str, steps: int, seeds: Sequence[int]) -> Tensor:
    """Samples in [-1, 1], as uint8 keeps them, of the size that the judges know."""
    source = model.source
    with make_accelerator("cpu", "auto").autocast():
        if sampler == UNIPC:
            batches = by_unipc(model, seeds, steps)
        else:
            path = KarrasPath(source.path.betas) if spacing == "karras" else source.path
            limit = path.limit(LATE[spacing]) if spacing in LATE else None
            how = {"scheduler": sampler, "steps": steps, "limit": limit, "clip": not source.latent}
            batches = sample(model.predict, path, seeds, source.shape, **how)
        found = torch.cat([to_uint8(source.codec().decode(x_0)) for x_0 in batches])
    return functional.interpolate(to_float(found), (JUDGED, JUDGED), mode="area")


def table(rows: Sequence[Row], model: str) -> str:
    """A line for each sampler and spacing, a column for each number of steps."""
    own = [row for row in rows if row["model"] == model]
    steps = sorted({row["steps"] for row in own})
    lines = ["| sampler | spacing | " + " | ".join(map(str, steps)) + " |\n"]
    lines.append("|---" * (len(steps) + 2) + "|\n")
    for sampler, spacing in itertools.product(SAMPLERS, SPACINGS):
        found = by_steps(own, sampler, spacing)
        if found:
            cells = [cell(found.get(count, ())) for count in steps]
            lines.append(f"| {sampler} | {spacing} | " + " | ".join(cells) + " |\n")
    return f"## {model}\n\n" + "".join(lines) + "\n" + fewest(own) + "\n"


def by_steps(rows: Sequence[Row], sampler: str, spacing: str) -> dict[int, list[Row]]:
    """The rows of one way to sample, of as many steps each."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        if (row["sampler"], row["spacing"]) == (sampler, spacing):
            found.setdefault(row["steps"], []).append(row)
    return found


def mean(rows: Sequence[Row], name: str) -> float:
    """Of what the rows say under a name."""
    return statistics.fmean(row[name] for row in rows)


def cell(rows: Sequence[Row]) -> str:
    """The mean over draws of noise by the judge / by the second, and over how many."""
    if not rows:
        return ""
    told = f"{mean(rows, 'distance'):.1f}"
    if all("second distance" in row for row in rows):
        told += f" / {mean(rows, 'second distance'):.0f}"
    return told + (f" ({len(rows)})" if len(rows) > 1 else "")


def fewest(rows: Sequence[Row]) -> str:
    """Of each sampler, the fewest steps that are as near as the most that were measured."""
    lines = []
    for sampler, spacing in itertools.product(SAMPLERS, SPACINGS):
        found = by_steps(rows, sampler, spacing)
        if len(found) < 2 or max(found) < MANY:
            continue
        far = {steps: mean(of, "distance") for steps, of in found.items()}
        most = max(far)
        least = min(steps for steps in far if far[steps] <= NEAR * far[most])
        told = f"{least} steps ({far[least]:.1f})"
        end = f"{most} ({far[most]:.1f})"
        lines.append(f"- {sampler}, {spacing}: {told} are within 2 % of {end} or nearer\n")
    return "".join(lines)


def write_all(rows: list[Row]) -> None:
    """Both files."""
    order = ("model", "sampler", "spacing", "steps")
    rows.sort(key=lambda row: [row[name] for name in order])
    write_json(RESULT.with_suffix(".json"), rows)
    notes = RESULT.with_name("samplers-notes.md")
    text = notes.read_text() + "\n" if notes.exists() else "# Samplers and steps\n\n"
    names = sorted({row["model"] for row in rows}, key=lambda name: ("-" in name, name))
    text += "".join(table(rows, name) for name in names)
    RESULT.with_suffix(".md").write_text(text + made_by(rows))


def main() -> None:
    """Measure what is missing, the fewest steps first."""
    parser = argparse.ArgumentParser(description=__doc__)
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--source", default=SOURCE)
    whose.add_argument("--run", type=Path)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--spacings", nargs="+", choices=SPACINGS, default=list(SPACINGS))
    parser.add_argument("--steps", nargs="+", type=int, default=[4, 6, 8, 10, 15, 25, 50])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--first", type=int, default=FIRST_SAMPLE)
    asked = parser.parse_args()
    kept = RESULT.with_suffix(".json")
    rows: list[Row] = json.loads(kept.read_text()) if kept.exists() else []
    model = model_of(asked.run, asked.source)
    seeds = range(asked.first, asked.first + asked.samples)
    for way in itertools.product(sorted(asked.steps), asked.samplers, asked.spacings):
        steps, sampler, spacing = way
        about = {"model": model.name, "sampler": sampler, "spacing": spacing, "steps": steps}
        about |= {"samples": asked.samples, "first": asked.first}
        known = any(about.items() <= row.items() for row in rows)
        if known or (sampler == UNIPC and spacing != "trailing"):
            continue
        began = time.process_time()
        found = images(model, sampler, spacing, steps, seeds)
        seconds = time.process_time() - began
        far = {f"{which}distance": distance(found, model.domain, which) for which in JUDGES}
        rows.append({**about, **far, "of_processors": seconds, **provenance()})
        write_all(rows)
        print(*way, *(f"{value:.1f}" for value in far.values()), f"{seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
