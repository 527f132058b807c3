"""Few evaluations an image: teachers and their students, on drawn targets where the truth is known.

    python benchmarks/distill.py RUNS [--targets sunglasses babies] [--seeds 0 1 2]
        [--evaluations 4 2 1 3 8] [--towards windows distribution] [--samples 250]
        [--trunk-weights squeezenet1_1.safetensors]

RUNS has finished runs of `bridge`, called avatars-TARGET-bridge-SEED. A row is a teacher, drawn by
dpm++ as `ant sample --steps` does, or a student of it, at some number of evaluations. Students are
made by the package's settings and kept in --students; what was cut goes on. What is measured is
kept in benchmarks/results/distill and not measured again; after every row the table and the pages
are written anew. The first seed of all rows comes first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ablation import HERE
from PIL import Image, ImageDraw, ImageFont
from rows import by_lpips, measures, provenance
from table import made_by, spread
from torch import Tensor
from way_left import FIRST_SAMPLE

from antcli.artifacts import write_json
from antcli.devices import make_accelerator
from antcli.diffusion.sampler import Sampler
from antcli.distilling.distillation import check_teacher, distill
from antcli.distilling.settings import distill_config_from
from antcli.evaluation.lpips import LpipsFeatures, load_lpips
from antcli.images.grid import GAP, grid, save_png, to_float, to_uint8
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run

RESULTS = HERE / "results"
WHOLE = 25
"""Evaluations of a teacher that nobody hurries."""
EVALUATIONS = (4, 2, 1, 3, 8)
SHOWN = 20
"""Samples of a row on a page."""
COLUMNS = {
    "way left": ("way left", ".0%"),
    "by a second judge": ("second way left", ".0%"),
    "diversity": ("diversity", ".2f"),
    "Intra-LPIPS": ("intra_lpips", ".3f"),
    "copies": ("copy rate", ".2f"),
    "target share": ("target share", ".2f"),
    "images a second": ("images a second", ".1f"),
    "seconds to distil": ("of processors", ".0f"),
}
"""By its head: the measure, and how it is written."""
Row = Mapping[str, Any]


def order(chosen: argparse.Namespace) -> Iterator[tuple[str, int, str, int]]:
    """Target, seed, what draws, its evaluations: what is cut is whole as far as it goes."""
    kinds = ("teacher", *chosen.towards)
    rows = [("teacher", WHOLE), *itertools.product(kinds, chosen.evaluations)]
    for seed, (row, n), target in itertools.product(chosen.seeds, rows, chosen.targets):
        yield target, seed, row, n


def student_of(teacher: Run, row: str, n: int, seed: int, folder: Path) -> tuple[Run, float | None]:
    """A finished student; and seconds of processors, where it was made at one go."""
    run = Run(folder)
    if run.finished:
        return run, None
    config = distill_config_from({"steps": n, "seed": seed, "towards": row})
    new, started = not run.started, time.process_time()
    accelerator = make_accelerator(config.device, config.mixed_precision)
    for _ in distill(check_teacher(teacher), config, run, accelerator):
        pass
    return run, time.process_time() - started if new else None


def drawn(run: Run, sampler: Sampler, samples: int) -> tuple[Tensor, float]:
    """Samples as `ant sample` draws them, in float32, and how many a second of processors."""
    source, device = check_run_source(run), make_accelerator("auto", "no").device
    network, codec = load_adapted(run, source).to(device), source.codec(device)
    network.sampler = sampler
    started, seeds = time.process_time(), range(FIRST_SAMPLE, FIRST_SAMPLE + samples)
    batches = source.sample(network, seeds, device=device)
    images = torch.cat([to_uint8(codec.decode(x_0).cpu()) for x_0 in batches])
    return to_float(images), samples / (time.process_time() - started)


def measured(
    chosen: argparse.Namespace, name: tuple[str, int, str, int], trunk: LpipsFeatures | None
) -> dict[str, Any]:
    """One row of `order`; its first samples are kept as a page."""
    target, seed, row, n = name
    run, cost = Run(chosen.runs / f"avatars-{target}-bridge-{seed}"), None
    sampler = Sampler(steps=n)
    if row in chosen.towards:
        folder = chosen.students / f"{target}-{row}-{n}-{seed}"
        run, cost = student_of(run, row, n, seed, folder)
        sampler = run.sampler
    images, a_second = drawn(run, sampler, chosen.samples)
    save_png(page_of(chosen, target, row, n, seed), grid(to_uint8(images[:SHOWN]), 10, scale=2), {})
    return {
        **measures(images, target),
        "intra_lpips": by_lpips(images, target, trunk),
        "images a second": a_second,
        "of processors": cost,
        **{"target": target, "seed": seed, "row": row, "evaluations": n},
        **provenance(),
    }


def page_of(chosen: argparse.Namespace, target: str, row: str, n: int, seed: int) -> Path:
    """Samples of a row."""
    return Path(chosen.students) / "pages" / f"{target}-{row}-{n}-{seed}.png"


def write_all(chosen: argparse.Namespace) -> None:
    """The table as Markdown and JSON, and for each target a page of its first seed."""
    files = sorted((chosen.results / "distill").glob("*.json"))
    rows = [json.loads(file.read_text()) for file in files]
    notes = chosen.results / "distill-notes.md"
    text = notes.read_text() if notes.exists() else "# Few evaluations an image\n"
    for target in dict.fromkeys(row["target"] for row in rows):
        of_target = [row for row in rows if row["target"] == target]
        text += f"\n## {target}\n\n" + table(of_target)
        write_page(chosen, target, of_target)
    (chosen.results / "distill.md").write_text(text + "\n" + made_by(rows))
    (chosen.results / "distill.json").write_text(json.dumps(rows, indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    """Rows of one target: median (least to greatest) over seeds."""
    heads = ["", "evaluations", "seeds", *COLUMNS]
    lines = ["| " + " | ".join(heads) + " |\n", "|---" * len(heads) + "|\n"]
    for name, n in sorted({(row["row"], row["evaluations"]) for row in rows}):
        own = [row for row in rows if (row["row"], row["evaluations"]) == (name, n)]
        cells = [name, str(n), str(len(own))]
        cells += [spread([row.get(what) for row in own], form) for what, form in COLUMNS.values()]
        lines.append("| " + " | ".join(cells) + " |\n")
    return "".join(lines)


def write_page(chosen: argparse.Namespace, target: str, rows: Sequence[Row]) -> None:
    """The first samples of each row from the same seeds, one below the other."""
    first = min(row["seed"] for row in rows)
    names = sorted({(row["row"], row["evaluations"]) for row in rows if row["seed"] == first})
    files = {name: page_of(chosen, target, *name, first) for name in names}
    strips = {name: Image.open(file) for name, file in files.items() if file.exists()}
    if not strips:
        return
    line, font = 18 + GAP, ImageFont.load_default(size=18)
    height = sum(strip.height + line + GAP for strip in strips.values())
    whole, top = Image.new("RGB", (max(s.width for s in strips.values()), height), "white"), 0
    for (name, n), strip in strips.items():
        ImageDraw.Draw(whole).text((2, top + 2), f"{target}: {name}, {n}", "black", font)
        whole.paste(strip, (0, top + line))
        top += strip.height + line + GAP
    save_png(chosen.results / "pages" / f"distill-{target}.png", whole, {})


def arguments() -> argparse.Namespace:
    """As they were typed, checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--targets", nargs="+", default=["sunglasses", "babies"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--evaluations", nargs="+", type=int, default=EVALUATIONS)
    towards = ["windows", "distribution"]
    parser.add_argument("--towards", nargs="+", choices=towards, default=towards)
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--trunk-weights", type=Path)
    parser.add_argument("--students", type=Path, default=HERE / ".cache" / "students")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """Make and measure what is missing."""
    chosen = arguments()
    weights = chosen.trunk_weights
    trunk = load_lpips("squeeze", weights) if weights is not None else None
    for target, seed, row, n in order(chosen):
        file = chosen.results / "distill" / f"{target}-{row}-{n}-{seed}.json"
        if file.exists():
            continue
        found = measured(chosen, (target, seed, row, n), trunk)
        write_json(file, found)
        write_all(chosen)
        left = f"{found['way left']:.0%} left, diversity {found['diversity']:.2f}"
        print(f"{target} {seed} {row} {n}: {left}", flush=True)
    write_all(chosen)


if __name__ == "__main__":
    main()
