"""A row of a benchmark: a run by the package's own engine, what it cost, what its steps come to."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from ablation import SHOTS, typed, versions
from measures import diversity_by_lpips, features
from stopping import until_over
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from way_left import drawn, held_out, measured, of_source, the_judge

from antcli.artifacts import load_tensors, write_json
from antcli.config import adapt_config_from, merge
from antcli.devices import make_accelerator
from antcli.evaluation.kernel import kernel_distance
from antcli.evaluation.lpips import LpipsFeatures
from antcli.evaluation.manifold import prdc
from antcli.evaluation.scoring import Scorer
from antcli.evaluation.stopping import choose
from antcli.images.folder import read_folder
from antcli.methods.classifier import Classifier
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources.networks import NETWORKS
from antcli.sources.source import find_source
from antcli.training.adaptation import Preview, Resumed, adapt
from antcli.training.inputs import check_inputs, settings_for

SOURCE = "avatars"
REFERENCE = 1000
"""Held-out drawings of the kernel distance, recall and coverage."""
LPIPS_SAMPLES = 200
MARKS = 4
"""Checkpoints of a run, equally far apart."""


class Passes:
    """Counts passes for each image, forward and backward: through denoisers, through classifiers.

    What has a graph is taken to have a pass backward, too.
    """

    def __init__(self) -> None:
        self.evaluations = self.of_classifiers = 0

    def go_on(self, spent: Mapping[str, Any]) -> None:
        """From what was spent before."""
        self.evaluations = spent["evaluations"]
        self.of_classifiers = spent["of_classifiers"]

    def __enter__(self) -> Passes:
        self._handle = register_module_forward_hook(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _seen(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(module, (*NETWORKS.values(), Classifier)):
            return
        said: Tensor = output[0] if isinstance(output, tuple) else output
        passes = len(inputs[0]) * (2 if said.requires_grad else 1)
        if isinstance(module, Classifier):
            self.of_classifiers += passes
        else:
            self.evaluations += passes


def forget_peak() -> None:
    """From here on `peak_memory` counts."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float | None:
    """GiB: of the card; without one, resident, of this whole process, where that can be told."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    if sys.platform != "linux":
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 2**20 if found else None


def run_settings(target: str, said: Mapping[str, Any], marks: int = MARKS) -> dict[str, Any]:
    """The settings of a run on a drawn target, with so many checkpoints and no pages to speak of.

    What `said` leaves out is the package's own.
    """
    names = {"source": SOURCE, "target": str(SHOTS / target)}
    config, _ = settings_for(merge(names, said))
    every = -(-config.training.steps // marks)
    preview = {"every": every, "images": 1, "sampling_steps": 1}
    return merge(names, said, {"preview": preview})


def train(folder: Path, said: Mapping[str, Any]) -> Run:
    """Make a run, or go on with it; over one of other settings. Its costs.json has costs by step.

    Counted are its stages and steps: seconds, passes through networks, peak memory.
    """
    run, (config, _) = Run(folder), settings_for(said)
    same = run.started and run.config() == config
    if same and run.finished and run.checkpoints:
        return run
    inputs = check_inputs(config)
    file = folder / "costs.json"
    costs: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    # Without a state, or what it cost until then, it begins anew: stages are paid for once.
    goes_on = same and run.state.exists() and str(run.facts()["step"]) in costs
    forget_peak()
    spent: dict[str, Any] = {"seconds": 0.0, "of_processors": 0.0, "memory": None}
    spent |= vars(Passes())
    accelerator = make_accelerator(config.device, config.mixed_precision)
    with Passes() as passes:
        clock, processors = time.perf_counter(), time.process_time()
        for record in adapt(inputs, config, run, accelerator, clear=not goes_on):
            if isinstance(record, Resumed):
                spent = costs[str(record.step)]
                passes.go_on(spent)
            elif isinstance(record, Preview):  # which is no part of the work
                passes.go_on(spent)
                costs[str(record.step)] = spent
                write_json(file, costs)
            else:
                peaks = [peak for peak in (spent["memory"], peak_memory()) if peak is not None]
                spent = {
                    "seconds": spent["seconds"] + time.perf_counter() - clock,
                    "of_processors": spent["of_processors"] + time.process_time() - processors,
                    "memory": max(peaks, default=None),
                    "evaluations": passes.evaluations,
                    "of_classifiers": passes.of_classifiers,
                }
            clock, processors = time.perf_counter(), time.process_time()
    return run


def slim(run: Run) -> None:
    """Remove what is large and has been measured: checkpoints, and the model as a folder."""
    for folder in (run.folder / "checkpoints", run.model):
        shutil.rmtree(folder, ignore_errors=True)


@cache
def scorer(target: str) -> Scorer:
    """What `--steps auto` looks at."""
    source = find_source(SOURCE)
    images = read_folder(SHOTS / target, source.size).images
    return Scorer(source, images, make_accelerator("auto", "auto"))


@cache
def reference(target: str) -> Tensor:
    """Held-out drawings, in the judge's features."""
    return features(held_out(target)[:REFERENCE], the_judge(""))


def measures(images: Tensor, target: str) -> dict[str, Any]:
    """All measures of samples [N, 3, 32, 32] in [-1, 1] but Intra-LPIPS."""
    found = measured(images, target, str(SHOTS / target), of_source(SOURCE, len(images)))
    own, real = features(images, the_judge("")), reference(target)
    found["kid"] = kernel_distance(real, own, subsets=1).value
    inside = prdc(real, own)
    return {**found, "recall": inside.recall, "coverage": inside.coverage}


def steps_of(run: Run, target: str, samples: int) -> Iterator[tuple[int, Tensor, dict[str, Any]]]:
    """Each checkpoint's step, samples, and what was measured of them, its score among it."""
    source, scoring = check_run_source(run), scorer(target)
    costs = json.loads((run.folder / "costs.json").read_text())
    for step, file in run.checkpoints.items():
        network = load_adapted(run, source, file)
        images = drawn(source, network, samples)
        score = asdict(scoring.score(network.to(scoring.accelerator.device), step))
        yield step, images, {**measures(images, target), **costs[str(step)], "score": score}


def finished_row(
    run: Run, target: str, samples: int, trunk: LpipsFeatures | None
) -> tuple[dict[str, Any], Tensor]:
    """All that is measured of a run; and samples of the step that the stopping rule takes."""
    looks, images = {}, {}
    for step, drawn_images, found in steps_of(run, target, samples):
        looks[step], images[step] = found, drawn_images
    config, start = run.config(), scorer(target).unadapted
    scores = [start, *(type(start)(**found["score"]) for found in looks.values())]
    settles = config.training.settles
    rule = choose(scores if settles else until_over(scores), settles).step
    hindsight = min(looks, key=lambda step: looks[step]["distance"])
    for step in {rule, hindsight}:
        looks[step]["intra_lpips"] = by_lpips(images[step], target, trunk)
    facts = {
        "target": target,
        "seed": config.seed,
        "rule": rule,
        "hindsight": hindsight,
        "steps": {str(step): found for step, found in looks.items()},
        "parameters": sum(tensor.numel() for tensor in load_tensors(run.weights).values()),
        "config": asdict(config),
        **provenance(),
    }
    return facts, images[rule]


def by_lpips(images: Tensor, target: str, trunk: LpipsFeatures | None) -> float | None:
    """Intra-LPIPS, where a trunk is at hand."""
    if trunk is None:
        return None
    return diversity_by_lpips(images[:LPIPS_SAMPLES], SHOTS / target, trunk)


def provenance() -> dict[str, Any]:
    """Of what the numbers depend on beside settings."""
    accelerator = make_accelerator("auto", "auto")
    machine = {"device": str(accelerator.device), "precision": accelerator.mixed_precision}
    threads = torch.get_num_threads()
    return {"command": typed(), "versions": versions(), **machine, "threads": threads}


def label_of(said: Mapping[str, Any]) -> str:
    """The name of a method as it is kept in files."""
    from antcli.config import label

    return label(adapt_config_from({"source": SOURCE, "target": "", **said}))
