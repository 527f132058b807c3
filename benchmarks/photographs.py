"""Finished runs on photographs: how much of the way from the source to held-out images is left.

    python benchmarks/photographs.py RUNS --held-out MANY --trunk-weights squeezenet1_1.safetensors

RUNS is a folder of run folders, as `ant adapt` writes them, of one source and one target. Distances
are in two spaces, each named: the encoder of the source itself (`source`), and SqueezeNet's last
map, averaged over its pixels (`squeeze`). What is left is 0 % where as many held-out photographs
are from the others, which ten images cannot reach, and 100 % at the source as it is. Writes
benchmarks/results/photographs.md and .json, which keeps what is measured already (remove it to
measure otherwise); neither images nor weights are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from ablation import FIRST_SAMPLE, versions
from finished import finished_runs, measured_once
from PIL import Image
from table import spread
from torch import Tensor

from antcli.config import label
from antcli.devices import make_accelerator
from antcli.evaluation.centres import colours
from antcli.evaluation.features.source import SourceSpace
from antcli.evaluation.frechet import Gaussian, frechet_distance
from antcli.evaluation.intra_lpips import intra_lpips
from antcli.evaluation.lpips import LpipsFeatures, load_lpips
from antcli.images.folder import read_folder
from antcli.images.grid import to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources.source import Source

RESULT = Path(__file__).parent / "results" / "photographs"
SPACES = ("source", "squeeze")
STEPS = 10


class Measures:
    """Held-out images, and what is measured against them."""

    def __init__(self, source: Source, target: Path, chosen: argparse.Namespace) -> None:
        self.source, self.target = source, read_folder(target, source.size).images
        self.accelerator = make_accelerator("auto", "auto")
        self.samples, self.lpips_samples = chosen.samples, chosen.lpips_samples
        self.space = SourceSpace(source)
        self.trunk: LpipsFeatures = load_lpips("squeeze", chosen.trunk_weights)
        held_out = read_folder(chosen.held_out, source.size).images
        self.truth = [Gaussian.fit(x) for x in self._features(held_out[self.samples :])]
        self.floor = self.of(held_out[: self.samples])
        self.truth = [Gaussian.fit(x) for x in self._features(held_out)]
        self.held_out = len(held_out)
        self.start = self.of(self.draw(Denoiser(source.load(), source.convention)))

    def draw(self, network: Denoiser) -> Tensor:
        """Samples uint8, from the same noise for every run."""
        seeds = range(FIRST_SAMPLE, FIRST_SAMPLE + self.samples)
        with torch.no_grad(), self.accelerator.autocast():
            batches = self.source.sample(network, seeds, steps=STEPS)
            return torch.cat([to_uint8(batch) for batch in batches])

    def of(self, images: Tensor) -> dict[str, float]:
        """Distances in both spaces, and Intra-LPIPS."""
        found = [Gaussian.fit(x) for x in self._features(images)]
        pairs = zip(SPACES, found, self.truth, strict=True)
        measured = {space: frechet_distance(own, truth) for space, own, truth in pairs}
        names = [str(i) for i in range(len(self.target))]
        few = _pictures(images[: self.lpips_samples])
        diversity = intra_lpips(few, _pictures(self.target), names, self.trunk).value
        return {**measured, "intra": diversity or float("nan")}

    def left(self, measured: dict[str, float]) -> dict[str, float]:
        """Those of a run, with the share of the way that is left in each space."""
        start, floor = self.start, self.floor
        return measured | {
            f"{space} left": (measured[space] - floor[space]) / (start[space] - floor[space])
            for space in SPACES
        }

    def of_run(self, run: Run) -> dict[str, Any]:
        """The same of a run's samples, and what it was."""
        found = self.left(self.of(self.draw(load_adapted(run, self.source))))
        config = run.config()
        return {"method": label(config), "seed": config.seed, "found": found}

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        batches = images.split(100)
        return torch.cat([self.space(x) for x in batches]), torch.cat([*map(self._pooled, batches)])

    @torch.no_grad()
    def _pooled(self, images: Tensor) -> Tensor:
        pictures = _pictures(images)
        x = colours(pictures, range(len(pictures)), -1.0, self.trunk)
        return self.trunk.layers(self.trunk.scaling(x))[-1].mean((2, 3))


def _pictures(images: Tensor) -> list[Image.Image]:
    return [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in images]


def line(name: str, found: Sequence[dict[str, float]]) -> str:
    """A line of the table: medians over seeds, with the least and the greatest."""
    columns = (
        ("source", ".2f"),
        ("source left", ".0%"),
        ("squeeze", ".0f"),
        ("squeeze left", ".0%"),
        ("intra", ".3f"),
    )
    cells = [spread([one.get(key) for one in found], form) for key, form in columns]
    return f"| {name} | {' | '.join(cells)} |\n"


HEADING = """# Photographs: {source} to {target}

`ant adapt --source {source} --target {target} [--method ant] --seed SEED`, all else as it is by
default; then `python benchmarks/photographs.py`: {samples} samples (dpm++, {steps} steps) against
{held_out} held-out photographs, at {size} pixels; seeds {seeds}. Median (least to greatest) over
seeds. {versions}.

Frechet distances in two spaces: *source* is {space};
*squeeze* SqueezeNet 1.1's last map, averaged over its pixels. *Left* is of the way from the source
to as many held-out photographs. Intra-LPIPS (cdc, SqueezeNet) of {lpips} of the samples. The source
was trained as by `examples/pretrain_folder.py` on photographs of adults ({pretraining}); neither it
nor the images are part of the project.

| row | Frechet, source | left | Frechet, squeeze | left | Intra-LPIPS |
|---|---|---|---|---|---|
"""


def main() -> None:
    """Measure every run, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    for name in ("held-out", "trunk-weights"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--source-training", default="not said")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--lpips-samples", type=int, default=100)
    chosen = parser.parse_args()
    runs = finished_runs(chosen.runs)
    kinds = {tuple(run.facts()[key] for key in ("source_sha256", "target_folder")) for run in runs}
    if len(kinds) > 1:
        parser.error(
            f"the runs in {chosen.runs} are of several sources or targets: take one of each"
        )
    target = Path(str(runs[0].facts()["target_folder"]))
    measures = Measures(check_run_source(runs[0]), target, chosen)
    kept = RESULT.with_suffix(".json")
    rows = measured_once(chosen.runs, kept, measures.of_run, itemgetter("found"))
    by_method: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row["found"])
    seeds = sorted({row["seed"] for row in rows})
    text = HEADING.format(
        source=Path(measures.source.name).name,
        target=target.name,
        samples=chosen.samples,
        steps=STEPS,
        held_out=measures.held_out,
        size=measures.source.size,
        seeds=", ".join(map(str, seeds)),
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        space=measures.space.label,
        lpips=chosen.lpips_samples,
        pretraining=chosen.source_training,
    )
    text += line(f"{chosen.samples} held-out against the others", [measures.floor])
    text += line("source, not adapted", [measures.start])
    text += "".join(line(name, those) for name, those in by_method.items())
    RESULT.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
