"""Which learning rate for what trains; which weight for a method's penalties.

    python benchmarks/learning_rates.py [--train all lora ...] [--factors 0.33 1 3]
    python benchmarks/learning_rates.py --methods ddpm-pa cdc dcl rssa ewc [--factors 0.01 0.1 1 10]
        [--targets sunglasses sketches] [--seeds 0] [--steps 100] [--samples 250]

The first trains each choice of what trains on plain noise, at multiples of the rate that it has in
the package. The second takes methods as they are and multiplies the weights of their penalties.
Every run is the package's own, and is measured at its end. What is measured is kept in
benchmarks/results/learning-rates and not measured again; a run that was cut goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation import HERE
from rows import SOURCE, measures, provenance, run_settings, slim, train
from table import made_by, spread
from way_left import drawn

from antcli.artifacts import write_json
from antcli.methods.table import CHOICES, METHODS, choice, setting
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.training.part import NonFiniteLossError

RESULTS = HERE / "results"
RATES, WEIGHTS = (0.33, 1.0, 3.0), (0.01, 0.1, 1.0, 10.0)
"""What is multiplied with by default."""
COLUMNS = {"distance": ".1f", "way left": ".0%", "diversity": ".2f", "target share": ".2f"}
COLUMNS |= {"copy rate": ".2f"}


@dataclass(frozen=True)
class Trial:
    """One value of what is tried."""

    name: str
    """Of what trains, or of a method."""
    value: str
    """As it is shown."""
    said: dict[str, Any]
    """The settings that make it so."""


def rates(trains: Sequence[str], factors: Sequence[float]) -> Iterator[Trial]:
    """Learning rates of what trains, on plain noise."""
    for name, factor in itertools.product(trains, factors):
        rate = float(f"{factor * choice('trains', name).defaults['training']['learning_rate']:.2g}")
        plain = {"trains": name, "noise": "gaussian", "target": "noise"}
        yield Trial(name, f"{rate:g}", {"choices": plain, "training": {"learning_rate": rate}})


def weights(methods: Sequence[str], factors: Sequence[float]) -> Iterator[Trial]:
    """Weights of the penalties of methods."""
    for name, factor in itertools.product(methods, factors):
        own = {of: float(f"{factor * w:.2g}") for of, w in METHODS[name].penalties.items()}
        value = ", ".join(f"{of} {weight:g}" for of, weight in own.items())
        tables = {"penalties": {setting(of): weight for of, weight in own.items()}}
        yield Trial(name, value, {"method": name, **tables})


def run(trial: Trial, target: str, seed: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one value; of what came apart there is nothing to measure."""
    said: dict[str, Any] = {"seed": seed, **trial.said}
    said["training"] = {**said.get("training", {}), "steps": chosen.steps}
    facts = {"target": target, "name": trial.name, "value": trial.value, "seed": seed}
    folder = chosen.runs / _file_name(trial, target, seed)
    try:
        made = train(folder, run_settings(target, said, marks=1))
    except NonFiniteLossError as error:
        return {**facts, "came_apart": error.step, **provenance()}
    source = check_run_source(made)
    images = drawn(source, load_adapted(made, source), chosen.samples)
    costs = json.loads((folder / "costs.json").read_text())[str(chosen.steps)]
    slim(made)
    return {**facts, **measures(images, target), **costs, **provenance()}


def _file_name(trial: Trial, target: str, seed: int) -> str:
    return f"{target}-{trial.name}-{trial.value.replace(', ', '-').replace(' ', '-')}-{seed}"


def table(rows: Sequence[dict[str, Any]], target: str) -> str:
    """The values of a target as Markdown; the nearest of each name in bold."""
    lines = ["| name | value | seeds | " + " | ".join(COLUMNS) + " |\n"]
    lines.append("|---" * (3 + len(COLUMNS)) + "|\n")
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if (row["target"], row["name"]) == (target, name)]
        whole = [row for row in own if "distance" in row]
        best = min(whole, key=lambda row: row["distance"])["value"] if whole else None
        for value in dict.fromkeys(row["value"] for row in own):
            of = [row for row in own if row["value"] == value]
            cells = [spread([row.get(key) for row in of], form) for key, form in COLUMNS.items()]
            shown = f"**{value}**" if value == best else value
            lines.append("| " + " | ".join([name, shown, str(len(of)), *cells]) + " |\n")
    return f"## {target}\n\n" + "".join(lines) + "\n"


def write(results: Path) -> None:
    """The tables of all that has been measured."""
    rows = [json.loads(file.read_text()) for file in sorted(_folder(results).glob("*.json"))]
    if not rows:
        return
    rows.sort(key=lambda row: float(row["value"].split(", ")[0].split(" ")[-1]))
    rows.sort(key=lambda row: row["name"])
    targets = dict.fromkeys(row["target"] for row in rows)
    text = f"# Learning rates, and weights of penalties\n\nSource `{SOURCE}`; the nearest in bold; "
    text += "where nothing is, training came apart.\n\n"
    text += "".join(table(rows, target) for target in targets) + made_by(rows)
    (results / "learning-rates.md").write_text(text)


def _folder(results: Path) -> Path:
    return results / "learning-rates"


def arguments() -> argparse.Namespace:
    """As they were typed, checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    penalised = [name for name, method in METHODS.items() if method.penalties]
    parser.add_argument("--train", nargs="+", choices=list(CHOICES["trains"]))
    parser.add_argument("--methods", nargs="+", choices=penalised)
    parser.add_argument("--factors", nargs="+", type=float)
    parser.add_argument("--targets", nargs="+", default=["sunglasses", "sketches"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--runs", type=Path, default=HERE / ".cache" / "learning-rates")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """Make and measure what is missing."""
    chosen = arguments()
    trials = list(weights(chosen.methods or (), chosen.factors or WEIGHTS))
    if chosen.train or not chosen.methods:
        trials += rates(chosen.train or list(CHOICES["trains"]), chosen.factors or RATES)
    for seed, trial, target in itertools.product(chosen.seeds, trials, chosen.targets):
        file = _folder(chosen.results) / f"{_file_name(trial, target, seed)}.json"
        if file.exists():
            continue
        facts = run(trial, target, seed, chosen)
        write_json(file, facts)
        write(chosen.results)
        print(target, trial.name, trial.value, seed, facts.get("distance"), flush=True)


if __name__ == "__main__":
    main()
