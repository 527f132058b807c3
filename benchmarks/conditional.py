"""One run of several conditions beside a run for each, on drawn domains where the truth is known.

    python benchmarks/conditional.py [--domains hats face-paint sunglasses babies]
        [--counts 2 5 10 20] [--seeds 0 1 2] [--samples 500] [--steps N] [--method NAME]
        [--runs benchmarks/.cache/conditional] [--out benchmarks/results/conditional]

Of each domain the same drawings are learnt from either way, so many of each. What is measured is
kept in OUT.json and not measured again; a run that was cut goes on. Time is that of the processors,
which other work on the machine does not change much.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablation import HERE, versions
from attributes import draw
from oracle import FIRST_SHOT
from PIL import Image
from rows import SOURCE, slim, train
from way_left import FIRST_SAMPLE, SAMPLES, drawn, measured, of_source

from antcli.artifacts import write_json
from antcli.runs.adapted import asked_labels, check_run_source, load_adapted
from antcli.runs.run import Run

SIZE = 128
"""Of a drawing that is learnt from, as those of examples/10shots."""
DOMAINS = ("hats", "face-paint", "sunglasses", "babies")
JOINT, SEPARATE = "one run", "a run each"
KEPT = ("way left", "second way left", "diversity", "target share", "copy rate")


def shots(folder: Path, domain: str, count: int) -> Path:
    """A folder of so many drawings of a domain."""
    place = folder / domain
    if not place.exists():
        place.mkdir(parents=True)
        images, _ = draw(range(FIRST_SHOT, FIRST_SHOT + count), domain, SIZE)
        for number, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number}.png")
    return place


def run_of(target: Path, folder: Path, chosen: argparse.Namespace, seed: int) -> Run:
    """A finished run at the package's settings, without pages to speak of; made once."""
    if Run(folder).finished:
        return Run(folder)
    said: dict[str, Any] = {"source": SOURCE, "target": str(target), "seed": seed}
    said["method"] = chosen.method
    said["preview"] = {"images": 1, "sampling_steps": 1}
    if chosen.steps is not None:
        said["training"] = {"steps": chosen.steps}
        said["preview"]["every"] = chosen.steps
    run = train(folder, said)
    slim(run)
    return run


def rows(chosen: argparse.Namespace, count: int, seed: int, kind: str) -> Iterator[dict[str, Any]]:
    """A row for each domain, of one run or of its own."""
    target = chosen.runs / "shots" / str(count)
    each = {domain: shots(target, domain, count) for domain in chosen.domains}
    made = chosen.runs / f"{count}-{seed}"
    joint = kind == JOINT
    for domain, folder in each.items():
        place = (target, made / "joint") if joint else (folder, made / domain)
        run = run_of(*place, chosen, seed)
        source = check_run_source(run)
        seeds = range(FIRST_SAMPLE, FIRST_SAMPLE + chosen.samples)
        asked = asked_labels(run, seeds, domain if joint else "")
        images = drawn(source, load_adapted(run, source), chosen.samples, asked)
        found = measured(images, domain, str(folder), of_source(SOURCE, chosen.samples))
        costs = json.loads((run.folder / "costs.json").read_text())
        spent = costs[max(costs, key=int)]["of_processors"]
        # What a run of all domains costs is shared by them.
        share = 1 / len(each) if joint else 1.0
        yield {
            **{"kind": kind, "count": count, "seed": seed, "domain": domain},
            **{name: found[name] for name in KEPT if name in found},
            "processor seconds": share * spent,
            "megabytes": share * run.weights.stat().st_size / 2**20,
        }


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: a line for each number of images and either way, means over domains and seeds."""
    lines = [
        "| images of each | | way left | by domain | diversity | copies | minutes in all | MB |"
    ]
    lines.append("|---" * 8 + "|")
    for count, kind in itertools.product(sorted({r["count"] for r in found}), (JOINT, SEPARATE)):
        of = [r for r in found if (r["count"], r["kind"]) == (count, kind)]
        if not of:
            continue
        domains = dict.fromkeys(r["domain"] for r in of)
        seeds = len({r["seed"] for r in of})

        def mean(name: str, of: list[dict[str, Any]]) -> float:
            return statistics.fmean(r[name] for r in of)

        each = ", ".join(
            f"{d} {mean('way left', [r for r in of if r['domain'] == d]):.0%}" for d in domains
        )
        minutes, size = (sum(r[k] for r in of) / seeds for k in ("processor seconds", "megabytes"))
        cells = [str(count), kind, f"{mean('way left', of):.1%}", each]
        cells += [f"{mean('diversity', of):.2f}", f"{mean('copy rate', of):.2f}"]
        lines.append("| " + " | ".join([*cells, f"{minutes / 60:.1f}", f"{size:.1f}"]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is new, and write both files after each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", nargs="+", default=DOMAINS)
    parser.add_argument("--counts", nargs="+", type=int, default=[10, 5, 2, 20])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--method", default="bridge")
    parser.add_argument("--runs", type=Path, default=HERE / ".cache" / "conditional")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "conditional")
    chosen = parser.parse_args()
    kept = chosen.out.with_suffix(".json")
    found = json.loads(kept.read_text())["rows"] if kept.exists() else []
    known = {(r["count"], r["seed"], r["kind"]) for r in found}
    for seed, count, kind in itertools.product(chosen.seeds, chosen.counts, (JOINT, SEPARATE)):
        if (count, seed, kind) in known:
            continue
        found += rows(chosen, count, seed, kind)
        write_json(kept, {"rows": found, "versions": versions()})
        chosen.out.with_suffix(".md").write_text(table(found))
        print(table(found), flush=True)


if __name__ == "__main__":
    main()
