"""What each part of ANT adds: two drawn targets, three seeds, equal steps for every row.

    python benchmarks/ablation.py [--targets sunglasses babies] [--seeds 0 1 2] [--steps 100]
                                  [--trunk-weights squeezenet1_1.safetensors]
    python benchmarks/ablation.py --source avatars-64 [the same options]
    python benchmarks/ablation.py --costs [--source avatars-64]

Results go to benchmarks/results: one JSON for each run, pages of samples, and with `--costs` what
a step of each row costs on an idle machine. What is there already is not run again; remove it to
measure anew.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import accelerate
import diffusers
import torch
from attributes import AttributeNetwork, draw, judge, to_float
from measures import Reference, diversity_by_lpips, measure, reference
from torch import Tensor

from antcli.config import AdaptConfig, TrainingConfig
from antcli.devices import make_accelerator
from antcli.evaluation.lpips import LpipsFeatures, load_lpips
from antcli.images.folder import read_folder
from antcli.images.grid import grid, save_png, to_uint8
from antcli.methods.build import stages_of
from antcli.methods.classifier import Classifier
from antcli.methods.table import METHODS
from antcli.methods.trainable.adaptors import AdaptorConfig
from antcli.methods.trainable.denoiser import Denoiser
from antcli.sources.source import Source, find_source
from antcli.training.adaptation import build_training
from antcli.training.classifier_files import load_classifier
from antcli.training.classifier_stage import train_classifier
from antcli.training.inputs import Inputs, defaults_for
from antcli.training.loop import Training

HERE = Path(__file__).parent
SHOTS = HERE.parent / "examples" / "10shots"
EVERYWHERE = "-everywhere"
"""Ends the rows whose adaptors act at every t, as in the paper."""
ROWS = (
    "held-out",
    "source",
    "full",
    "adaptor-everywhere",
    "ant-everywhere",
    "adaptor",
    "adaptor-guided",
    "adaptor-adversarial",
    "ant",
)
UNTRAINED = ("held-out", "source", "codec")
SOURCE = "avatars"
"""The source of the rows that do not begin with another's name."""
LATENT_ROWS = ("codec", "source", "full", "adaptor", "ant")
"""Of a latent source; `codec` are the held-out drawings as its autoencoder gives them back."""
JUDGED = 32
"""Side of the images that the judge knows; larger ones are brought down to it."""
LEARNING_RATE = {"full": 2e-4}
"""All weights train at a lower rate than adaptors: 1e-3 tears the network apart."""
HELD_OUT_SAMPLE = 4_000_000
COSTED, ROUNDS = 15, 3
"""Steps that are timed at once, and how often in turn with those of the other rows."""
FIRST_SAMPLE = 10_000
"""Of the seeds that are measured: none that the classifier's source samples came from."""


class Bench:
    """What all runs on one target share."""

    def __init__(self, target: str, chosen: argparse.Namespace, source: str = SOURCE) -> None:
        self.target, self.chosen, self.name = target, chosen, source
        self.source: Source = find_source(source)
        self.codec = self.source.codec()
        self.accelerator = make_accelerator("auto", "auto")
        self.inputs = Inputs(self.source, read_folder(SHOTS / target, self.source.size))
        self.judge: AttributeNetwork = judge()
        self.truth: Reference = reference(target, self.judge)
        self.trunk: LpipsFeatures | None = None
        if chosen.trunk_weights is not None:
            self.trunk = load_lpips("squeeze", chosen.trunk_weights)

    def config(self, row: str, seed: int) -> AdaptConfig:
        """The default recipe, all rows at equal steps."""
        training = TrainingConfig(steps=self.chosen.steps)
        rate = LEARNING_RATE.get(row, training.learning_rate)
        adaptor = replace(
            AdaptorConfig(), **defaults_for(self.source, METHODS["ant"]).get("adaptor", {})
        )
        return AdaptConfig(
            source=self.name,
            target=str(SHOTS / self.target),
            method=row.removesuffix(EVERYWHERE),
            seed=seed,
            training=replace(training, learning_rate=rate),
            adaptor=replace(adaptor, t_limit=1.0) if row.endswith(EVERYWHERE) else adaptor,
        )

    def classifier(self, config: AdaptConfig) -> tuple[Classifier | None, float]:
        """The classifier of a seed, shared by the rows that need one, and what it cost."""
        if not stages_of(config):
            return None, 0.0
        name = named(self.name, f"classifier-{self.target}-{config.seed}")
        file = HERE / ".cache" / f"{name}.safetensors"
        seconds = file.with_suffix(".json")
        if not file.exists():
            started = time.perf_counter()
            for _ in train_classifier(self.inputs, config, self.accelerator, file):
                pass
            seconds.write_text(json.dumps(time.perf_counter() - started))
        channels, size, _ = self.source.shape
        return load_classifier(file, size, channels), json.loads(seconds.read_text())

    def training(self, config: AdaptConfig) -> tuple[Training, float]:
        """A training of one row, not begun."""
        classifier, seconds = self.classifier(config)
        return build_training(
            self.inputs, config, self.accelerator, {"classifier": classifier}
        ), seconds

    def draw(self, network: Denoiser) -> Tensor:
        """Samples in [-1, 1], the same noise for every row."""
        seeds = range(FIRST_SAMPLE, FIRST_SAMPLE + self.chosen.samples)
        with self.accelerator.autocast():
            batches = self.source.sample(
                network,
                seeds,
                steps=self.chosen.sampling_steps,
                device=self.accelerator.device,
            )
            return torch.cat([self.codec.decode(batch.cpu()) for batch in batches])

    def untrained(self, row: str) -> Tensor:
        """Samples of the source, or the floor: as many drawings of the target, met nowhere else."""
        if row == "source":
            return self.draw(Denoiser(self.source.load(), self.source.convention))
        seeds = range(HELD_OUT_SAMPLE, HELD_OUT_SAMPLE + self.chosen.samples)
        images = to_float(draw(seeds, self.target, self.source.size)[0])
        return images if row == "held-out" else self.codec.decode(self.codec.encode(images))

    def measure(self, images: Tensor) -> dict[str, float]:
        """The measures of a page of samples."""
        ten = to_float(self.inputs.target.images)
        return measure(_as_judged(images), _as_judged(ten), self.judge, self.truth)

    def by_lpips(self, images: Tensor) -> float | None:
        """Intra-LPIPS, where a trunk is at hand."""
        if self.trunk is None:
            return None
        return diversity_by_lpips(
            images[: self.chosen.lpips_samples], SHOTS / self.target, self.trunk
        )


def named(source: str, name: str) -> str:
    """The name of a row or of a file, which begins with that of its source."""
    return name if source == SOURCE else f"{source}-{name}"


def _as_judged(images: Tensor) -> Tensor:
    """[N, 3, 32, 32]; each pixel the mean of those it covers."""
    return torch.nn.functional.interpolate(images, size=(JUDGED, JUDGED), mode="area")


def run(bench: Bench, row: str, seed: int) -> dict[str, Any]:
    """Train one row and measure it along the way."""
    if row in UNTRAINED:
        images = bench.untrained(row)
        return _with_page(bench, row, seed, {"curve": {"0": bench.measure(images)}}, images, 0)
    config = bench.config(row, seed)
    training, classifier_seconds = bench.training(config)
    curve: dict[str, dict[str, float]] = {}
    best, kept = float("inf"), torch.empty(0)
    for record in training.steps():
        if record.step in bench.chosen.measure_at:
            with training.averaged():
                images = bench.draw(training.network)
            curve[str(record.step)] = bench.measure(images)
            if curve[str(record.step)]["distance"] < best:
                best, kept, best_step = curve[str(record.step)]["distance"], images, record.step
    facts = {
        "curve": curve,
        "parameters": sum(p.numel() for p in training.parameters.values()),
        "classifier_seconds": classifier_seconds,
        "config": asdict(config),
    }
    return _with_page(bench, row, seed, facts, kept, best_step)


def _with_page(
    bench: Bench, row: str, seed: int, facts: dict[str, Any], images: Tensor, step: int
) -> dict[str, Any]:
    """Write the page of 40 samples of the best step, and that step's Intra-LPIPS."""
    page = grid(to_uint8(images[:40]), columns=10)
    row = named(bench.name, row)
    save_png(_results() / "pages" / f"{bench.target}-{row}-{seed}.png", page, {})
    return {
        "target": bench.target,
        "row": row,
        "seed": seed,
        "best_step": step,
        "intra_lpips": bench.by_lpips(images),
        **facts,
    }


def cost(bench: Bench, row: str) -> dict[str, float]:
    """Seconds of a step of a row, and the peak resident memory in GiB of this process."""
    training, _ = bench.training(replace(bench.config(row, 0), device="cpu"))
    seconds = [record.seconds for record in itertools.islice(training.steps(), COSTED)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds_per_step": statistics.median(seconds), "peak_memory_gib": peak}


def costs(rows: Sequence[str], target: str, source: str) -> dict[str, list[dict[str, float]]]:
    """Of each row in turn, several times over, each in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {named(source, row): [] for row in rows}
    for row in [*rows] * ROUNDS:
        command = [sys.executable, __file__, "--cost", row, "--targets", target]
        command += ["--source", source]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[named(source, row)].append(json.loads(output.splitlines()[-1]))
        print(row, found[named(source, row)][-1], flush=True)
    return found


def typed() -> str:
    """The command, of whole paths the last names: others have other folders."""
    words = (Path(word).name if Path(word).is_absolute() else word for word in sys.argv)
    return " ".join(map(shlex.quote, words))


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "accelerate": accelerate.__version__,
    }


def _results() -> Path:
    return HERE / "results"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=SOURCE)
    parser.add_argument("--targets", nargs="+", default=["sunglasses", "babies"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--measure-at", nargs="+", type=int, default=[25, 50, 75, 100])
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--sampling-steps", type=int, default=10)
    parser.add_argument("--lpips-samples", type=int, default=200)
    parser.add_argument("--trunk-weights", type=Path)
    parser.add_argument("--costs", action="store_true")
    trained = [row for row in ROWS if row not in UNTRAINED]
    parser.add_argument("--cost", choices=trained, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.rows = chosen.rows or (ROWS if chosen.source == SOURCE else LATENT_ROWS)
    return chosen


def main() -> None:
    chosen = _arguments()
    if chosen.cost:
        print(json.dumps(cost(Bench(chosen.targets[0], chosen, chosen.source), chosen.cost)))
        return
    if chosen.costs:
        trained = [row for row in chosen.rows if row not in UNTRAINED]
        found = costs(trained, chosen.targets[0], chosen.source)
        file = _results() / f"{named(chosen.source, 'costs')}.json"
        file.write_text(json.dumps({"rows": found, "versions": versions()}, indent=1) + "\n")
        return
    for target in chosen.targets:
        bench = Bench(target, chosen, chosen.source)
        for seed in chosen.seeds:
            for row in chosen.rows:
                name = f"{target}-{named(chosen.source, row)}-{seed}"
                file = _results() / "runs" / f"{name}.json"
                if file.exists() or (row in UNTRAINED and seed != chosen.seeds[0]):
                    continue
                facts = run(bench, row, seed)
                facts["versions"] = versions()
                facts["command"] = typed()
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(facts, indent=1) + "\n")
                best = facts["curve"][str(facts["best_step"])]
                print(target, row, seed, facts["best_step"], best, flush=True)


if __name__ == "__main__":
    main()
