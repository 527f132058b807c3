"""Where the time of a training step goes, beside the least that its arithmetic takes.

    python benchmarks/adapt_step.py [--cases avatars church-256 ...] [--methods bridge ant finetune]
        [--steps 20] [--large-steps 2] [--batch 10] [--large-batch 1]

Writes benchmarks/results/adapt_step.md and .json, after every row. `avatars` and `avatars-64` are
the carried sources; the others are architectures of 256 pixels with random weights, what is trained
and how being the package's defaults. Images, counterparts and classifier are random: they change no
step's cost.

The floor is the operations of the step's passes (torch's counter: convolutions, linear layers,
attention) over the rate at which the same process multiplies matrices, in the same type, on as
many threads. On a CPU seconds are those of its processors, so that whoever shares them is not
counted; on a GPU they are of the clock.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ablation import versions
from accelerate import Accelerator
from count_ffhq import ffhq
from diffusers import ModelMixin
from memory import church
from step_parts import Operations, Parts, observed

from antcli.artifacts import write_json
from antcli.config import AdaptConfig, adapt_config_from
from antcli.devices import make_accelerator
from antcli.diffusion.convention import PLAIN, Convention
from antcli.diffusion.examples import Examples, Latents, Pixels
from antcli.methods.build import build_network, build_objective, choices_of
from antcli.methods.classifier import new_classifier
from antcli.methods.counterparts import Counterparts
from antcli.methods.table import METHODS
from antcli.sources.source import find_source
from antcli.training.inputs import defaults_for
from antcli.training.loop import StepRecord, Training

RESULT = Path(__file__).parent / "results" / "adapt_step"
PARTS = (
    "draw",
    "inner loop",
    "guidance",
    "forward",
    "backward",
    "optimiser",
    "average",
    "the rest",
)
IMAGES, DRAWS = 10, 2
WARM = 3
"""Steps that are not timed, beside the first, whose operations are counted."""
MATRIX = 2048
"""Side of the matrices whose product says the rate."""


@dataclass
class Case:
    """A source's network, and how it is asked."""

    load: Callable[[], ModelMixin]
    convention: Convention
    shape: tuple[int, int, int]
    latent: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def large(self) -> bool:
        """Whether a step takes seconds."""
        return self.shape[-1] >= 256


def cases() -> dict[str, Callable[[], Case]]:
    """By name; nothing is loaded yet."""

    def carried(name: str) -> Callable[[], Case]:
        source = find_source(name)
        about = source.load, source.convention, source.shape, source.latent
        return lambda: Case(*about, defaults_for(source, METHODS["ant"]))

    shape = (3, 256, 256)
    return {
        "avatars": carried("avatars"),
        "avatars-64": carried("avatars-64"),
        "church-256": lambda: Case(lambda: church(256), PLAIN, shape),
        "ffhq-p2": lambda: Case(ffhq, PLAIN, shape),
    }


def build(case: Case, config: AdaptConfig, accelerator: Accelerator, parts: Parts) -> Training:
    """A training with everything loaded, whose parts are timed."""
    draw = torch.Generator().manual_seed(0)
    needed = [stage for chosen in choices_of(config) for stage in chosen.stages]
    prepared: dict[str, Any] = {}
    if "classifier" in needed:
        channels, size, _ = case.shape
        classifier = new_classifier(size, 0, channels=channels).eval().requires_grad_(False)
        prepared["classifier"] = classifier.to(accelerator.device)
    if "counterparts" in needed:
        pairs = examples(case, IMAGES * DRAWS, draw, accelerator.device)
        prepared["counterparts"] = Counterparts(pairs, DRAWS, 0.5, 0.3)
    t_limit = 0.5 if "counterparts" in needed else None
    network = build_network(case.load(), config, case.convention, t_limit)
    if any(chosen.asks_source for chosen in choices_of(config)):
        network.keep_source()
    training = Training(
        network,
        examples(case, IMAGES, draw, accelerator.device),
        config.training,
        accelerator,
        objective=observed(build_objective(config, prepared), parts),
    )
    parts.wrap(training, "_draw", "draw")
    parts.wrap(training.accelerator, "backward", "backward")
    parts.wrap(training.parts[""], "_take", "optimiser")
    parts.wrap(training.ema, "update", "average")
    return training


def examples(case: Case, count: int, draw: torch.Generator, device: torch.device) -> Examples:
    """So many random ones."""
    shape = (count, *case.shape)
    if case.latent:
        x_0 = torch.randn(shape, generator=draw).to(device)
        return Latents(x_0, x_0)
    return Pixels(torch.randint(256, shape, generator=draw, dtype=torch.uint8))


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds of the processors; of a GPU, of the clock once it has done all it was told."""
    if device.type != "cuda":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return now


def matrix_rate(accelerator: Accelerator, now: Callable[[], float]) -> float:
    """Operations a second of a product of matrices, in the type of the passes: the best of ten."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
    kind = kinds[accelerator.mixed_precision]
    a = torch.randn(MATRIX, MATRIX, device=accelerator.device).to(kind)
    seconds = []
    for _ in range(10):
        began = now()
        a @ a
        seconds.append(now() - began)
    return 2 * MATRIX**3 / min(seconds)


def measure(
    case: Case, config: AdaptConfig, accelerator: Accelerator, count: int
) -> dict[str, Any]:
    """Seconds of each part of each step, operations of each part, and the rate."""
    now = clock(accelerator.device)
    parts = Parts(now)
    training = build(case, config, accelerator, parts)
    steps = training.steps()
    operations = counted(steps, parts)
    for _ in range(0 if case.large else WARM):
        next(steps)
    taken, rates = [], []
    for _ in range(count):
        rates.append(matrix_rate(accelerator, now))
        parts.taken.clear()
        with parts.part("the rest"):
            next(steps)
        taken.append(dict(parts.taken))
    return {"seconds": taken, "operations": operations, "rates": rates}


def counted(steps: Iterator[StepRecord], parts: Parts) -> dict[str, float]:
    """Operations of each part of the next step."""
    now = parts.now
    with Operations() as counter:
        parts.now = lambda: counter.total
        with parts.part("the rest"):
            next(steps)
    parts.now = now
    return {name: flops for name, flops in parts.taken.items() if flops}


def line(row: Mapping[str, Any]) -> str:
    """A row of the table: shares of the step, and the step over its floor."""
    whole = [sum(step.values()) for step in row["seconds"]]
    middle = statistics.median(whole)
    shares = (
        statistics.median(step.get(part, 0.0) / sum(step.values()) for step in row["seconds"])
        for part in PARTS
    )
    cells = [row["case"], row["method"], str(row["batch"]), f"{middle:.3g}"]
    cells.append(f"{min(whole) / middle:.2f} to {max(whole) / middle:.2f}")
    cells += [f"{share:.0%}" if share >= 0.0005 else "-" for share in shares]
    operations, rate = sum(row["operations"].values()), statistics.median(row["rates"])
    floors = [seconds * rate / operations for seconds in whole]
    cells += [f"{operations / 1e9:,.0f}", f"{rate / 1e9:,.0f}"]
    cells.append(f"{statistics.median(floors):.2f} ({min(floors):.2f} to {max(floors):.2f})")
    return "| " + " | ".join(cells) + " |\n"


HEADS = ("source", "method", "batch", "s / step", "least to most", *PARTS)
HEADS += ("operations, 10^9", "rate, 10^9 / s", "step / floor")


def page(rows: list[dict[str, Any]]) -> str:
    """The notes, the table, and what it was made with."""
    notes = RESULT.with_name("adapt_step-notes.md")
    head = notes.read_text() + "\n" if notes.exists() else "# Where a step's time goes\n\n"
    table = "| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|\n"
    made = {f"- {row['machine']}\n" for row in rows}
    return head + table + "".join(map(line, rows)) + "\nMade on\n\n" + "".join(sorted(made))


def machine(accelerator: Accelerator) -> str:
    """What the numbers depend on."""
    kind = "float32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    with_ = ", ".join(f"{name} {version}" for name, version in versions().items())
    threads = f"{torch.get_num_threads()} threads"
    return f"{platform.machine()}, {accelerator.device}, {kind}, {threads}; {with_}"


def main() -> None:
    """Measure each case with each method; rows that are there already are measured again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=list(cases()), default=list(cases()))
    parser.add_argument("--methods", nargs="+", default=["bridge", "ant", "finetune"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--large-steps", type=int, default=2)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--large-batch", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--mixed-precision", default="auto")
    asked = parser.parse_args()
    kept = RESULT.with_suffix(".json")
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    for name in asked.cases:
        case = cases()[name]()
        for method in asked.methods:
            accelerator = make_accelerator(asked.device, asked.mixed_precision)
            batch = asked.large_batch if case.large else asked.batch
            said = {"source": name, "target": "", "method": method}
            training = {"training": {"batch_size": batch, "steps": 1000}}
            config = adapt_config_from(case.defaults, said, training)
            count = asked.large_steps if case.large else asked.steps
            found = measure(case, config, accelerator, count)
            about = {"case": name, "method": method, "batch": batch}
            about["machine"] = machine(accelerator)
            rows = [r for r in rows if not about.items() <= r.items()] + [{**about, **found}]
            write_json(kept, rows)
            RESULT.with_suffix(".md").write_text(page(rows))
            print(line(rows[-1]), end="", flush=True)


if __name__ == "__main__":
    main()
