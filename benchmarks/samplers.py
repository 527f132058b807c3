"""Frechet distance against steps, by sampler and by where on the path the network is asked.

    python benchmarks/samplers.py [--run RUN] [--samplers dpm++ unipc ...]
        [--spacings trailing "from .8" karras] [--steps 4 6 8 10 15 25 50] [--samples 500]

Of the source `avatars` against held-out drawings of its own domain, and with `--run` of a finished
run of it against those of its target, in the judge's features, the same seeds for all. Rows are
kept in benchmarks/results/samplers.json and not measured again; the table is
benchmarks/results/samplers.md.

`trailing` are steps evenly apart in t; `from .8` the same from .8 of the path on, x_t there taken
for all noise. `karras` are those of Karras et al. 2022 (Eq. 5, rho = 7), between the most and the
least noise of the path. `unipc`, which the package has not, is diffusers'. x_0 is clipped at every
step, of all alike.
"""

from __future__ import annotations

import argparse
import itertools
import json
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
from way_left import FIRST_SAMPLE, distance

from antcli.artifacts import write_json
from antcli.devices import make_accelerator
from antcli.diffusion.path import BetaPath
from antcli.diffusion.sampling import SOLVERS, Noise, images_at_once, sample
from antcli.evaluation.samples import check_run_source, load_adapted
from antcli.images.grid import to_float, to_uint8
from antcli.methods.choice import Predict
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs import Run
from antcli.sources.source import find_source

RESULT = HERE / "results" / "samplers"
UNIPC = "unipc"
SAMPLERS = (*SOLVERS, UNIPC)
LATE = {"from .9": 0.9, "from .8": 0.8, "from .7": 0.7}
"""Of the path, as much as is not passed over at its noisy end."""
SPACINGS = ("trailing", *LATE, "karras")
RHO = 7
NEAR = 1.02
"""As many times the distance of the most steps is near enough."""
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
    path: BetaPath
    shape: tuple[int, int, int]


def model_of(folder: Path | None) -> Model:
    """The source, or what a run made of it."""
    source = find_source(SOURCE)
    if folder is None:
        network = Denoiser(source.load(), source.convention)
        return Model(SOURCE, "avatars", network, source.path, source.shape)
    run = Run(folder)
    network, domain = load_adapted(run, check_run_source(run)), run.facts()["target_folder"]
    return Model(folder.name, Path(domain).name, network, source.path, source.shape)


def by_unipc(
    predict: Predict, path: BetaPath, seeds: Sequence[int], shape: Sequence[int], steps: int
) -> Iterator[Tensor]:
    """As `sample`, with the solver of diffusers (Zhao et al. 2023), of order 2."""
    for part in torch.tensor(seeds).split(images_at_once(shape)):
        solver = UniPCMultistepScheduler(
            trained_betas=path.betas.numpy(),
            timestep_spacing="trailing",
            thresholding=True,  # with this largest value it is clipping to [-1, 1]
            sample_max_value=1.0,
        )
        solver.set_timesteps(steps)
        x_t = Noise(part.tolist(), "sample", shape, "cpu")()
        for t in solver.timesteps:
            eps = predict(x_t, t.expand(len(x_t))).float()
            x_t = solver.step(eps, t, x_t).prev_sample
        yield x_t.clamp(-1, 1)


@torch.no_grad()
def images(model: Model, sampler: str, spacing: str, steps: int, count: int) -> Tensor:
    """Samples in [-1, 1], as uint8 keeps them."""
    seeds = range(FIRST_SAMPLE, FIRST_SAMPLE + count)
    with make_accelerator("cpu", "auto").autocast():
        if sampler == UNIPC:
            batches = by_unipc(model.predict, model.path, seeds, model.shape, steps)
        else:
            path = KarrasPath(model.path.betas) if spacing == "karras" else model.path
            limit = path.limit(LATE[spacing]) if spacing in LATE else None
            how = {"scheduler": sampler, "steps": steps, "limit": limit}
            batches = sample(model.predict, path, seeds, model.shape, **how)
        return to_float(torch.cat([to_uint8(x_0) for x_0 in batches]))


def table(rows: Sequence[Row], model: str) -> str:
    """A line for each sampler and spacing, a column for each number of steps."""
    own = [row for row in rows if row["model"] == model]
    steps = sorted({row["steps"] for row in own})
    lines = ["| sampler | spacing | " + " | ".join(map(str, steps)) + " |\n"]
    lines.append("|---" * (len(steps) + 2) + "|\n")
    for sampler, spacing in itertools.product(SAMPLERS, SPACINGS):
        found = {
            row["steps"]: row["distance"]
            for row in own
            if (row["sampler"], row["spacing"]) == (sampler, spacing)
        }
        if found:
            cells = [f"{found[count]:.1f}" if count in found else "" for count in steps]
            lines.append(f"| {sampler} | {spacing} | " + " | ".join(cells) + " |\n")
    return f"## {model}\n\n" + "".join(lines) + "\n" + fewest(own) + "\n"


def fewest(rows: Sequence[Row]) -> str:
    """Of each sampler, the fewest steps that are as near as the most that were measured."""
    lines = []
    for sampler, spacing in itertools.product(SAMPLERS, SPACINGS):
        own = [row for row in rows if (row["sampler"], row["spacing"]) == (sampler, spacing)]
        if len(own) < 2:
            continue
        most = max(own, key=lambda row: row["steps"])
        near = [row for row in own if row["distance"] <= NEAR * most["distance"]]
        least = min(near, key=lambda row: row["steps"])
        told = f"{least['steps']} steps ({least['distance']:.1f})"
        end = f"{most['steps']} ({most['distance']:.1f})"
        lines.append(f"- {sampler}, {spacing}: {told} are within 2 % of {end} or nearer\n")
    return "".join(lines)


def write_all(rows: list[Row]) -> None:
    """Both files."""
    order = ("model", "sampler", "spacing", "steps")
    rows.sort(key=lambda row: [row[name] for name in order])
    write_json(RESULT.with_suffix(".json"), rows)
    notes = RESULT.with_name("samplers-notes.md")
    text = notes.read_text() + "\n" if notes.exists() else "# Samplers and steps\n\n"
    names = sorted({row["model"] for row in rows}, key=lambda name: (name != SOURCE, name))
    text += "".join(table(rows, name) for name in names)
    RESULT.with_suffix(".md").write_text(text + made_by(rows))


def main() -> None:
    """Measure what is missing, the fewest steps first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--spacings", nargs="+", choices=SPACINGS, default=list(SPACINGS))
    parser.add_argument("--steps", nargs="+", type=int, default=[4, 6, 8, 10, 15, 25, 50])
    parser.add_argument("--samples", type=int, default=500)
    asked = parser.parse_args()
    kept = RESULT.with_suffix(".json")
    rows: list[Row] = json.loads(kept.read_text()) if kept.exists() else []
    model = model_of(asked.run)
    for way in itertools.product(sorted(asked.steps), asked.samplers, asked.spacings):
        steps, sampler, spacing = way
        about = {"model": model.name, "sampler": sampler, "spacing": spacing, "steps": steps}
        about["samples"] = asked.samples
        known = any(about.items() <= row.items() for row in rows)
        if known or (sampler == UNIPC and spacing != "trailing"):
            continue
        began = time.process_time()
        found = images(model, sampler, spacing, steps, asked.samples)
        seconds = time.process_time() - began
        far = distance(found, model.domain, "")
        rows.append({**about, "distance": far, "of_processors": seconds, **provenance()})
        write_all(rows)
        print(*way, f"{far:.1f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
