"""The share of the way to the oracle of ten that finished runs leave.

    python benchmarks/way_left.py RUNS [--out benchmarks/results/way-left]

RUNS is a folder of run folders, as `ant adapt --out RUNS/NAME` writes them, on drawn targets whose
folders are called by their domains. 500 samples of each, dpm++ with 10 steps, seeds 10000 on,
against 5,000 held-out drawings. What is measured already is kept in --out.json and not again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from attributes import CHOICES, AttributeNetwork, draw, judge, second_judge, to_float
from finished import measured_once
from measures import HELD_OUT_SEEDS, READ, entropy, features
from oracle import oracle_of_ten
from torch import Tensor

from antcli.config import label
from antcli.devices import make_accelerator
from antcli.drawn_faces.domains import HELD_OUT, TARGETS, TEST
from antcli.evaluation.frechet import Gaussian, frechet_distance
from antcli.images.folder import read_folder
from antcli.images.grid import to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources.source import Source

FIRST_SAMPLE, SAMPLES, STEPS = 10_000, 500, 10
ORACLES = 3
COPIES_BY_CHANCE = 0.01
JUDGED = 32
EVERY = (*TARGETS, *HELD_OUT, *TEST)
JUDGES: dict[str, Callable[[], AttributeNetwork]] = {"": judge, "second ": second_judge}


@cache
def held_out(domain: str) -> Tensor:
    """Drawings that nothing was trained on, in [-1, 1]."""
    return to_float(draw(HELD_OUT_SEEDS, domain)[0])


@cache
def truth(domain: str, which: str) -> Gaussian:
    """Of the held-out drawings, in the features of a judge."""
    return Gaussian.fit(features(held_out(domain), the_judge(which)))


@cache
def the_judge(which: str) -> AttributeNetwork:
    """One of `JUDGES`."""
    return JUDGES[which]()


def distance(images: Tensor, domain: str, which: str) -> float:
    """Frechet distance of images in [-1, 1] to the held-out drawings."""
    return frechet_distance(Gaussian.fit(features(images, the_judge(which))), truth(domain, which))


@cache
def oracle(domain: str, which: str, count: int = SAMPLES) -> float:
    """Mean distance of what ten images allow, of as many samples: few of them look farther."""
    draws = (oracle_of_ten(domain, count, i) for i in range(ORACLES))
    return statistics.fmean(distance(images, domain, which) for images in draws)


@torch.no_grad()
def shares(images: Tensor, name: str) -> Tensor:
    """How often the judge reads each value of an attribute."""
    read = torch.cat([the_judge("").read(x)[name].argmax(1) for x in images.split(500)])
    return torch.bincount(read, minlength=len(CHOICES[name])) / len(images)


@cache
def true_shares(domain: str, name: str) -> Tensor:
    """The same of the held-out drawings."""
    return shares(held_out(domain), name)


@cache
def copied_within(domain: str, folder: str) -> float:
    """Nearer than this to one of the ten is one in a hundred of new drawings of the domain."""
    return float(nearest(held_out(domain)[:1000], ten(folder)).quantile(COPIES_BY_CHANCE))


@cache
def ten(folder: str) -> Tensor:
    """The target's images and their mirror images, in [-1, 1]."""
    images = to_float(read_folder(Path(folder), JUDGED).images)
    return torch.cat([images, images.flip(-1)])


def nearest(images: Tensor, target: Tensor) -> Tensor:
    """Distance of each image to the nearest of the target's."""
    return torch.cdist(images.flatten(1), target.flatten(1)).min(1).values


def drawn(
    source: Source, network: Denoiser, count: int = SAMPLES, asked: Tensor | None = None
) -> Tensor:
    """Samples in [-1, 1], as the judges see them, as uint8 keeps them.

    `asked`, [count, size], is the condition of each, where the network knows several.
    """
    accelerator = make_accelerator("auto", "auto")
    network, codec = network.to(accelerator.device), source.codec(accelerator.device)
    seeds = range(FIRST_SAMPLE, FIRST_SAMPLE + count)
    with torch.no_grad(), accelerator.autocast():
        batches = source.sample(
            network, seeds, steps=STEPS, device=accelerator.device, conditions=asked
        )
        images = to_float(torch.cat([to_uint8(codec.decode(x_0).cpu()) for x_0 in batches]))
    return torch.nn.functional.interpolate(images, size=(JUDGED, JUDGED), mode="area")


@cache
def of_source(name: str, count: int = SAMPLES) -> Tensor:
    """Samples of a source as it is."""
    from antcli.sources.source import find_source

    source = find_source(name)
    return drawn(source, Denoiser(source.load(), source.convention), count)


@torch.no_grad()
def measured(images: Tensor, domain: str, folder: str, source: Tensor) -> dict[str, Any]:
    """All measures of samples, those of their source beside them."""
    found: dict[str, Any] = {}
    for which in JUDGES:
        here, start = distance(images, domain, which), distance(source, domain, which)
        best = oracle(domain, which, len(images))
        found[f"{which}distance"], found[f"{which}source"] = here, start
        found[f"{which}oracle"] = best
        found[f"{which}way left"] = (here - best) / (start - best)
    own = features(images, the_judge("")).double().mean(0)
    found["of means"] = float((own - truth(domain, "").mean).square().sum())
    found["diversity"] = entropy(images, the_judge("")) / entropy(held_out(domain), the_judge(""))
    domains = CHOICES["domain"]
    if domain in domains:
        read = the_judge("").read(images)["domain"].softmax(1)
        found["target share"] = float(read[:, domains.index(domain)].mean())
    copied = nearest(images, ten(folder)) < copied_within(domain, folder)
    found["copy rate"] = float(copied.float().mean())
    found["total variation"] = {
        name: float((shares(images, name) - true_shares(domain, name)).abs().sum() / 2)
        for name in (*READ, "lenses")
    }
    return found


def measure_run(run: Run) -> dict[str, Any]:
    """The measures of a run, and what it was."""
    source, facts = check_run_source(run), run.facts()
    target = str(facts["target_folder"])
    domain = Path(target).name
    images = drawn(source, load_adapted(run, source))
    log = [json.loads(line) for line in run.log.read_text().splitlines()]
    about = {
        "domain": domain,
        "source_name": source.name,
        "method": label(run.config()),
        "seed": facts["config"]["seed"],
        "step": run.taken_step,
        "seconds_per_step": statistics.median(record["seconds"] for record in log),
    }
    return {**about, **measured(images, domain, target, of_source(source.name))}


def shares_left(row: dict[str, Any]) -> dict[str, float]:
    """What a row says of the way that is left, by each judge."""
    return {name: share for name, share in row.items() if "left" in name}


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown: a line for each method and target, means over seeds and each seed's way left."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["domain"], row["source_name"], row["method"]), []).append(row)
    lines = [
        "| target | source | method | way left | seeds | by the second judge | distance | of means "
        "| source | oracle | diversity | target share | copies |\n" + "|---" * 13 + "|\n"
    ]
    order = sorted(groups, key=lambda key: (EVERY.index(key[0]), key[1:]))
    for key in order:
        of = groups[key]

        def mean(name: str, form: str, of: list[dict[str, Any]] = of) -> str:
            there = [row[name] for row in of if name in row]
            return format(statistics.fmean(there), form) if there else "-"

        seeds = ", ".join(f"{row['way left']:.0%}" for row in sorted(of, key=lambda r: r["seed"]))
        cells = [*key, mean("way left", ".1%"), seeds, mean("second way left", ".1%")]
        cells += [mean(name, ".1f") for name in ("distance", "of means", "source", "oracle")]
        cells += [mean(name, ".2f") for name in ("diversity", "target share", "copy rate")]
        lines.append("| " + " | ".join(cells) + " |\n")
    return "".join(lines) + "\n" + _variations(groups, order)


def _variations(groups: dict[Any, list[dict[str, Any]]], order: list[Any]) -> str:
    names = (*READ, "lenses")
    lines = ["Total variation of what the judge reads, against the truth:\n\n"]
    lines.append("| target | source | method | " + " | ".join(names) + " |\n")
    lines.append("|---" * (len(names) + 3) + "|\n")
    for key in order:
        of = [row["total variation"] for row in groups[key]]
        cells = [format(statistics.fmean(row[name] for row in of), ".2f") for name in names]
        lines.append("| " + " | ".join([*key, *cells]) + " |\n")
    return "".join(lines)


def main() -> None:
    """Measure what is new, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    default = Path(__file__).parent / "results" / "way-left"
    parser.add_argument("--out", type=Path, default=default)
    chosen = parser.parse_args()
    kept = chosen.out.with_suffix(".json")
    rows = measured_once(chosen.runs, kept, measure_run, shares_left)
    notes = chosen.out.with_name(f"{chosen.out.name}-notes.md")
    head = notes.read_text() + "\n" if notes.exists() else ""
    chosen.out.with_suffix(".md").write_text(head + table(rows))


if __name__ == "__main__":
    main()
