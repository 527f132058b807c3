"""The share of the way left against the seconds of processors that it took, from start to finish.

    python benchmarks/time_to_quality.py [--curves bridge ant published published-faster]
        [--seeds 0 1 2] [--target sunglasses] [--samples 500]

Curves: the default recipe `bridge`, `ant` as it is, and the published loop (`published_loop.py`),
at its own learning rate and at that of `ant`. Each is trained in a process of its own, whose
seconds count from its start: libraries, source, counterparts or classifier, steps, states on disk;
no pages of samples, and not what is measured here. `way_left.py` says what is left.

Runs are kept in benchmarks/.cache/time_to_quality, points in
benchmarks/results/time_to_quality.json; what was cut goes on, and what is measured is not measured
again. After every point the table and the figure are written anew; `--seeds` adds seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from ablation import HERE, SHOTS
from published_loop import ADAPTOR, Published, PublishedTraining
from rows import SOURCE, provenance, run_settings
from table import made_by
from way_left import drawn, measured, of_source

from antcli.artifacts import load_tensors, replacing, save_tensors, write_json
from antcli.config import AdaptConfig
from antcli.devices import make_accelerator
from antcli.methods.build import build_network
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources.source import find_source
from antcli.training.adaptation import Preview, Resumed, adapt
from antcli.training.checkpoints import load_state, save_state
from antcli.training.classifier_files import load_classifier
from antcli.training.classifier_stage import train_classifier
from antcli.training.inputs import check_inputs, settings_for
from antcli.training.source_samples import examples_of

matplotlib.use("agg")
from matplotlib import pyplot

RESULT = HERE / "results" / "time_to_quality"
MARKS = {"bridge": 4, "ant": 4}
"""Checkpoints of the package's own."""
PUBLISHED = {"published": Published(), "published-faster": Published(learning_rate=5e-4)}
AT = (10, 20, 40, 80, 160, 320)
"""Checkpoints of the published loop, by step."""
CURVES = (*MARKS, *PUBLISHED)
COLOURS = {"bridge": "#0072B2", "ant": "#D55E00", "published": "#009E73"}
COLOURS["published-faster"] = "#CC79A7"
LABELS = {
    "bridge": "bridge, the default",
    "ant": "ant, as it is",
    "published": "the published loop",
    "published-faster": "the published loop, learning rate of ant",
}
MEASURES = {"way left": ".0%", "second way left": ".0%", "distance": ".1f", "diversity": ".2f"}
Row = dict[str, Any]
GOAL = 20
"""So many times sooner than the published loop at its best."""


class Spent:
    """Seconds of processors until each checkpoint, of all processes that a run took, whole."""

    def __init__(self, file: Path) -> None:
        self.file, self.before = file, 0.0
        self.found: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def go_on(self, step: int) -> None:
        """From a checkpoint of another process."""
        self.before = self.found[str(step)]

    def keep(self, step: int) -> None:
        """What it is now."""
        self.found[str(step)] = self.before + time.process_time()
        write_json(self.file, self.found)


def folder_of(curve: str, target: str, seed: int) -> Path:
    """Where a run is kept."""
    return HERE / ".cache" / "time_to_quality" / f"{target}-{curve}-{seed}"


def train(curve: str, target: str, seed: int) -> None:
    """Make a run, or go on with it, in this process."""
    folder = folder_of(curve, target, seed)
    if Run(folder).finished:
        return
    spent = Spent(folder / "costs.json")
    if curve in MARKS:
        config, _ = settings_for(
            run_settings(target, {"method": curve, "seed": seed}, MARKS[curve])
        )
        train_own(Run(folder), config, spent)
    else:
        train_published(Run(folder), published_config(target, seed), PUBLISHED[curve], spent)


def train_own(run: Run, config: AdaptConfig, spent: Spent) -> None:
    """By the package; without a checkpoint it begins anew, so that stages are paid for."""
    accelerator = make_accelerator(config.device, config.mixed_precision)
    for record in adapt(check_inputs(config), config, run, accelerator, clear=not spent.found):
        if isinstance(record, Resumed):
            spent.go_on(record.step)
        elif isinstance(record, Preview) and record.step:  # with which a checkpoint is written
            spent.keep(record.step)


def published_config(target: str, seed: int) -> AdaptConfig:
    """Settings of what the published loop shares with the package: adaptors, and the classifier."""
    said = {"source": SOURCE, "target": str(SHOTS / target), "method": "ant", "seed": seed}
    return settings_for({**said, "adaptor": ADAPTOR})[0]


def train_published(run: Run, config: AdaptConfig, published: Published, spent: Spent) -> None:
    """The classifier, then the loop."""
    inputs, accelerator = check_inputs(config), make_accelerator("auto", "auto")
    source = inputs.source
    if not spent.found:
        for _ in train_classifier(inputs, config, accelerator, run.classifier):
            pass
    images = examples_of(source, inputs.target.images, "cpu", flip=False)
    training = PublishedTraining(
        build_network(source.load(), config, source.convention),
        load_classifier(run.classifier, source.shape[-1], source.shape[0]),
        images.take(torch.arange(len(images)), torch.zeros(len(images), dtype=torch.bool)),
        published,
        accelerator,
        config.seed,
    )
    if spent.found:
        training.step = int(load_state(run.state, {"": training})["ant.step"])
        spent.go_on(training.step)
    for step in training.steps():
        if step in AT:
            save_tensors(run.checkpoint_at(step), training.ema.average, {})
            save_state(run.state, {"": training}, step, {})
            spent.keep(step)


def network_at(curve: str, target: str, seed: int, step: int) -> Denoiser:
    """The adapted network of a checkpoint."""
    run = Run(folder_of(curve, target, seed))
    file = run.checkpoint_at(step)
    if curve in MARKS:
        return load_adapted(run, check_run_source(run), file)
    source = find_source(SOURCE)
    network = build_network(source.load(), published_config(target, seed), source.convention)
    with torch.no_grad():
        for name, value in load_tensors(file).items():
            network.trained()[name].copy_(value)
    return network.requires_grad_(False).eval()


def measured_point(curve: str, target: str, seed: int, step: int, samples: int) -> Row:
    """What is left at a checkpoint."""
    images = drawn(find_source(SOURCE), network_at(curve, target, seed, step), samples)
    found = measured(images, target, str(SHOTS / target), of_source(SOURCE, samples))
    kept = {name: found[name] for name in MEASURES}
    return {**named(curve, target, seed), "step": step, "samples": samples, **kept}


def named(curve: str, target: str, seed: int) -> Row:
    """What tells a curve from others."""
    return {"curve": curve, "target": target, "seed": seed}


def table(rows: Sequence[Row]) -> str:
    """All points as Markdown."""
    heads = ("curve", "seed", "step", "s of processors", *MEASURES)
    lines = ["| " + " | ".join(heads) + " |\n", "|---" * len(heads) + "|\n"]
    for row in rows:
        cells = [row["curve"], row["seed"], row["step"], f"{row['of_processors']:.0f}"]
        cells += [format(row[name], form) for name, form in MEASURES.items()]
        lines.append("| " + " | ".join(map(str, cells)) + " |\n")
    return "".join(lines)


def against_published(rows: Sequence[Row]) -> str:
    """For each seed: when the published loop is at its best, and when `bridge` is as near."""
    lines = []
    for name, seed in itertools.product(PUBLISHED, sorted({row["seed"] for row in rows})):
        theirs = [row for row in rows if (row["curve"], row["seed"]) == (name, seed)]
        ours = [row for row in rows if (row["curve"], row["seed"]) == ("bridge", seed)]
        if not theirs or not ours:
            continue
        best = min(theirs, key=lambda row: row["way left"])
        as_near = [row for row in ours if row["way left"] <= best["way left"]]
        late = best["of_processors"]
        told = f"- seed {seed}, {name}: {best['way left']:.0%} left after {late:.0f} s"
        if as_near:
            first = min(row["of_processors"] for row in as_near)
            told += f"; `bridge` is as near after {first:.0f} s, 1/{late / first:.1f}"
        lines.append(told + ("" if as_near else "; `bridge` never is") + "\n")
    return f"As near as the published loop at its best; the goal is 1/{GOAL}:\n\n" + "".join(lines)


def figure(rows: Sequence[Row], path: Path) -> None:
    """A line for each curve and seed."""
    drawn_figure, axes = pyplot.subplots(figsize=(7.6, 4.6), layout="constrained")
    for curve, colour in COLOURS.items():
        for seed in sorted({row["seed"] for row in rows if row["curve"] == curve}):
            own = [row for row in rows if (row["curve"], row["seed"]) == (curve, seed)]
            places = [(row["of_processors"], 100 * row["way left"]) for row in own]
            label = LABELS[curve] if seed == min(r["seed"] for r in rows) else None
            axes.plot(*zip(*places, strict=True), "o-", color=colour, label=label, markersize=4)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of processors, from start to finish")
    axes.set_ylabel("way left, % (0: ten images' oracle; 100: source)")
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with replacing(path) as temporary:
        drawn_figure.savefig(temporary, format="png", dpi=110)
    pyplot.close(drawn_figure)


def write_all(rows: list[Row]) -> None:
    """The points, the table, the figure."""
    order = lambda row: (row["target"], row["seed"], CURVES.index(row["curve"]), row["step"])  # noqa: E731
    rows.sort(key=order)
    write_json(RESULT.with_suffix(".json"), rows)
    notes = RESULT.with_name(f"{RESULT.name}-notes.md")
    text = notes.read_text() + "\n" if notes.exists() else "# Quality against time\n\n"
    for target in dict.fromkeys(row["target"] for row in rows):
        own = [row for row in rows if row["target"] == target]
        text += f"## {target}\n\n" + against_published(own) + "\n" + table(own) + "\n"
        figure(own, RESULT.with_name(f"{RESULT.name}-{target}.png"))
    RESULT.with_suffix(".md").write_text(text + made_by(rows))


def measure_missing(rows: list[Row], curve: str, target: str, seed: int, samples: int) -> None:
    """The checkpoints that are there and not measured yet."""
    spent = Spent(folder_of(curve, target, seed) / "costs.json").found
    about = {**named(curve, target, seed), "samples": samples}
    known = [row["step"] for row in rows if about.items() <= row.items()]
    for step in sorted(set(map(int, spent)) - set(known)):
        found = measured_point(curve, target, seed, step, samples)
        rows.append({**found, "of_processors": spent[str(step)], **provenance()})
        write_all(rows)
        left = f"{found['way left']:.0%} left after {spent[str(step)]:.0f} s"
        print(f"{curve} {seed}, step {step}: {left}", flush=True)


def arguments() -> argparse.Namespace:
    """As they were typed, checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--target", default="sunglasses")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Make and measure what is missing."""
    asked = arguments()
    if asked.train:
        train(asked.curves[0], asked.target, asked.seeds[0])
        return
    kept = RESULT.with_suffix(".json")
    rows: list[Row] = json.loads(kept.read_text()) if kept.exists() else []
    for seed, curve in itertools.product(asked.seeds, asked.curves):
        about = curve, asked.target, seed
        measure_missing(rows, *about, asked.samples)  # of a run that was cut
        which = ["--curves", curve, "--seeds", str(seed), "--target", asked.target]
        subprocess.run([sys.executable, __file__, "--train", *which], check=True)
        measure_missing(rows, *about, asked.samples)


if __name__ == "__main__":
    main()
