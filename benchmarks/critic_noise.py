"""What should lie before a critic of ten images: no noise, noise of a fixed range, adaptive noise?

    python benchmarks/critic_noise.py STUDENTS [--targets sunglasses] [--seeds 0]
        [--steps 100] [--updates 5] [--samples 250] [--out RUNS]

STUDENTS has finished runs of `ant distill`, called TARGET-windows-4-SEED. Each goes on by
`antcli.distilling.refining`, all of its settings but one the same: once without a critic, then with
each noise before it. What is measured is kept in benchmarks/results/critic-noise and not measured
again; a run that was cut goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from ablation import HERE
from rows import measures, provenance
from table import made_by, spread
from torch import Tensor
from way_left import FIRST_SAMPLE

from antcli.artifacts import write_json
from antcli.devices import make_accelerator
from antcli.distilling.refining import check_student, refine, refine_config_from
from antcli.evaluation.critic_noise import read_critic_noise
from antcli.images.grid import grid, save_png, to_float, to_uint8
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run

RESULTS = HERE / "results"
ARMS: dict[str, dict[str, Any]] = {
    "student": {},
    "scores alone": {"critic_weight": 0.0},
    **{name: {"critic": {"before": name}} for name in ("none", "uniform", "adaptive")},
}
"""By their names, the settings of `[adversarial]`; the student is measured as it is."""
COLUMNS = {
    "way left": ("way left", ".0%"),
    "by a second judge": ("second way left", ".0%"),
    "diversity": ("diversity", ".2f"),
    "copies": ("copy rate", ".2f"),
    "target share": ("target share", ".2f"),
    "T at the end": ("T", ".0f"),
    "r_d at the end": ("r_d", ".2f"),
}
SHOWN = 20


def refined(student: Run, arm: str, seed: int, chosen: argparse.Namespace, folder: Path) -> Run:
    """The finished run of an arm."""
    run = Run(folder)
    if arm == "student" or run.finished:
        return student if arm == "student" else run
    settings = {"updates": chosen.updates, **ARMS[arm]}
    training = {"steps": chosen.steps, "batch_size": chosen.batch_size}
    config = refine_config_from({"adversarial": settings, "training": training, "seed": seed})
    for _ in refine(check_student(student), config, run, make_accelerator("auto", "no")):
        pass
    return run


def drawn(run: Run, samples: int) -> Tensor:
    """Samples as `ant sample` draws them, in [-1, 1]."""
    source, device = check_run_source(run), make_accelerator("auto", "no").device
    network, codec = load_adapted(run, source).to(device), source.codec(device)
    batches = source.sample(network, range(FIRST_SAMPLE, FIRST_SAMPLE + samples), device=device)
    return to_float(torch.cat([to_uint8(codec.decode(x_0).cpu()) for x_0 in batches]))


def row_of(target: str, arm: str, seed: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """One arm, measured; its first samples are kept as a page."""
    student = Run(chosen.students / f"{target}-windows-4-{seed}")
    name = f"{target}-{arm.replace(' ', '-')}-{seed}"
    run = refined(student, arm, seed, chosen, chosen.out / name)
    images = drawn(run, chosen.samples)
    save_png(chosen.out / "pages" / f"{name}.png", grid(to_uint8(images[:SHOWN]), 10, scale=2), {})
    told = {"target": target, "arm": arm, "seed": seed, "steps": chosen.steps}
    told |= {"updates": chosen.updates, "batch_size": chosen.batch_size}
    moves = [(step["step"], step["T"], step["r_d"]) for step in read_critic_noise(run.log)]
    last = {"T": moves[-1][1], "r_d": moves[-1][2], "moves": moves} if moves else {}
    return {**measures(images, target), **told, **last, **provenance()}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A row for each target and arm: median (least to greatest) over seeds."""
    heads = ["", "before the critic", "seeds", *COLUMNS]
    lines = ["| " + " | ".join(heads) + " |\n", "|---" * len(heads) + "|\n"]
    for target, arm in product(dict.fromkeys(row["target"] for row in rows), ARMS):
        own = [row for row in rows if (row["target"], row["arm"]) == (target, arm)]
        if own:
            cells = [target, arm, str(len(own))]
            cells += [spread([r.get(what) for r in own], form) for what, form in COLUMNS.values()]
            lines.append("| " + " | ".join(cells) + " |\n")
    return "".join(lines)


def arguments() -> argparse.Namespace:
    """As they were typed, checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("students", type=Path)
    parser.add_argument("--targets", nargs="+", default=["sunglasses"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--out", type=Path, default=HERE / ".cache" / "refined")
    return parser.parse_args()


def main() -> None:
    """Make and measure what is missing."""
    chosen = arguments()
    for seed, target, arm in product(chosen.seeds, chosen.targets, ARMS):
        file = RESULTS / "critic-noise" / f"{target}-{arm.replace(' ', '-')}-{seed}.json"
        if not file.exists():
            found = row_of(target, arm, seed, chosen)
            write_json(file, found)
            print(f"{target} {arm}: {found['way left']:.0%} left, {found['copy rate']:.2f} copied")
    files = sorted((RESULTS / "critic-noise").glob("*.json"))
    rows = [json.loads(file.read_text()) for file in files]
    text = "# What lies before a critic of ten images\n\n" + table(rows) + "\n" + made_by(rows)
    (RESULTS / "critic-noise.md").write_text(text)


if __name__ == "__main__":
    main()
