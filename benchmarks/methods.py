"""All methods, on drawn targets where the truth is known, each at its defaults.

    python benchmarks/methods.py [--targets sunglasses babies sketches paintings]
        [--methods finetune ddpm-pa ...] [--seeds 0 1 2] [--samples 250] [--steps N]
        [--trunk-weights squeezenet1_1.safetensors] [--runs benchmarks/.cache/methods]

Each row is a run of the package's own engine with four checkpoints, all of which are measured.
What is measured is kept in benchmarks/results/methods and not measured again; a run that was cut
goes on. After every row the table, the figure and the method's page are written anew
(`methods_table.py`). For each seed the targets that change a face come first, of all methods.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablation import HERE
from methods_table import RESULTS, UNTRAINED, write_all
from oracle import oracle_of_ten
from rows import SOURCE, by_lpips, finished_row, measures, provenance, run_settings, slim, train
from torch import Tensor
from way_left import ORACLES, of_source

from antcli.artifacts import write_json
from antcli.evaluation.lpips import LpipsFeatures, load_lpips
from antcli.images.grid import grid, save_png, to_uint8
from antcli.methods.table import METHODS

FIRST = ("sunglasses", "babies")
THEN = ("sketches", "paintings")
SHOWN = 20
"""Samples of each target on a method's page."""


def order(chosen: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Target, method and seed of each row, so that what is cut is whole as far as it goes."""
    for target in chosen.targets:
        yield from ((target, row, 0) for row in UNTRAINED)
    for seed, group in itertools.product(chosen.seeds, (FIRST, THEN)):
        targets = [target for target in group if target in chosen.targets]
        yield from ((target, m, seed) for m, target in itertools.product(chosen.methods, targets))


def untrained(row: str, target: str, samples: int, trunk: LpipsFeatures | None) -> dict[str, Any]:
    """The source as it is, or what ten images allow: between them the way is measured."""
    images = of_source(SOURCE, samples)
    if row == "oracle":
        images = oracle_of_ten(target, samples, ORACLES)
    found = {**measures(images, target), "intra_lpips": by_lpips(images, target, trunk)}
    facts = {"target": target, "seed": 0, "rule": 0, "hindsight": 0, "steps": {"0": found}}
    return {**facts, **provenance()}


def trained(
    method: str, target: str, seed: int, chosen: argparse.Namespace, trunk: LpipsFeatures | None
) -> dict[str, Any]:
    """One row; its first samples, at the step that the rule takes, are left in the run."""
    said: dict[str, Any] = {"method": method, "seed": seed}
    if chosen.steps is not None:
        said["training"] = {"steps": chosen.steps}
    run = train(chosen.runs / f"{target}-{method}-{seed}", run_settings(target, said))
    facts, images = finished_row(run, target, chosen.samples, trunk)
    _save_page(run.folder / "page.png", images)
    slim(run)
    return facts


def _save_page(path: Path, images: Tensor) -> None:
    save_png(path, grid(to_uint8(images[:SHOWN]), columns=10, scale=2), {})


def arguments() -> argparse.Namespace:
    """As they were typed, checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    targets = [*FIRST, *THEN]
    parser.add_argument("--targets", nargs="+", choices=targets, default=targets)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--steps", type=int, help="of every method; its own by default")
    parser.add_argument("--trunk-weights", type=Path)
    parser.add_argument("--runs", type=Path, default=HERE / ".cache" / "methods")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """Make and measure what is missing."""
    chosen = arguments()
    weights = chosen.trunk_weights
    trunk = load_lpips("squeeze", weights) if weights is not None else None
    for target, method, seed in order(chosen):
        file = chosen.results / "methods" / f"{target}-{method}-{seed}.json"
        if not file.exists():
            started = time.process_time()
            if method in UNTRAINED:
                facts = untrained(method, target, chosen.samples, trunk)
            else:
                facts = trained(method, target, seed, chosen, trunk)
            cost = time.process_time() - started
            write_json(file, {**facts, "method": method, "cpu_seconds_of_row": cost})
            write_all(chosen.results, chosen.runs)
            at = facts["steps"][str(facts["rule"])]
            left = f"{at['way left']:.0%} left at step {facts['rule']}"
            print(f"{target} {method} {seed}: {left}, {cost:.0f} s of processors", flush=True)
    write_all(chosen.results, chosen.runs)


if __name__ == "__main__":
    main()
