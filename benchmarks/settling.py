"""Is the last step of `bridge` the one to take, as `--steps auto` takes it to be?

    python benchmarks/settling.py RUNS

RUNS is a folder of finished runs of drawn targets (`way_left.py`), their checkpoints kept. Each
checkpoint is measured as `way_left.py` measures runs, and the last is set against the best in
hindsight. Writes benchmarks/results/settling.md and .json; what is measured already is kept there.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from ablation import versions
from finished import measured_once
from way_left import SAMPLES, distance, drawn

from antcli.config import label
from antcli.drawn_faces.domains import HELD_OUT, TARGETS
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run

RESULT = Path(__file__).parent / "results" / "settling"
TITLE = """# The last step against the best in hindsight

`python benchmarks/settling.py RUNS`, of runs of `bridge`, whose rate falls to nearly nothing, so
that `--steps auto` takes their own number of steps and the last of them. Frechet distance of
{samples} samples to 5,000 held-out drawings, in the features of the judge, by checkpoint. *Ratio*
is that of the last to the least. The number of steps was chosen on other targets than {chosen_on}.
{versions}.

"""
CHOSEN_ON = (*TARGETS, *HELD_OUT)
"""Domains that may have had a say in how many steps there are."""


def measure(run: Run) -> dict[str, Any]:
    """Distances by checkpoint."""
    source, facts = check_run_source(run), run.facts()
    domain = Path(str(facts["target_folder"])).name
    distances = {
        step: distance(drawn(source, load_adapted(run, source, weights)), domain, "")
        for step, weights in run.checkpoints.items()
    }
    last = distances[max(distances)]
    return {
        "domain": domain,
        "method": label(run.config()),
        "seed": facts["config"]["seed"],
        "distances": distances,
        "ratio": last / min(distances.values()),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for each run, and the mean."""
    steps = sorted({int(step) for row in rows for step in row["distances"]})
    names = ["target", "seed", *map(str, steps), "ratio"]
    lines = [f"| {' | '.join(names)} |\n", "|---" * len(names) + "|\n"]
    for row in rows:
        by_step = {int(step): found for step, found in row["distances"].items()}
        cells = [format(by_step[step], ".1f") if step in by_step else "-" for step in steps]
        cells = [row["domain"], str(row["seed"]), *cells, format(row["ratio"], ".2f")]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines) + "\n" + _means(rows)


def _means(rows: Sequence[dict[str, Any]]) -> str:
    others = [row["ratio"] for row in rows if row["domain"] not in CHOSEN_ON]
    every = [row["ratio"] for row in rows]
    said = f"Mean ratio of all {statistics.fmean(every):.3f}, at most {max(every):.2f}"
    if others:
        said += f"; of the others {statistics.fmean(others):.3f}, at most {max(others):.2f}"
    return said + ".\n"


def main() -> None:
    """Measure what is new, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    kept = chosen.out.with_suffix(".json")
    rows = measured_once(chosen.runs, kept, measure, itemgetter("distances"))
    named = {row["domain"] for row in rows} - set(CHOSEN_ON)
    told = ", ".join(f"{name} {version}" for name, version in versions().items())
    title = TITLE.format(
        samples=SAMPLES, versions=told, chosen_on=", ".join(sorted(named)) or "these"
    )
    chosen.out.with_suffix(".md").write_text(title + table(rows))


if __name__ == "__main__":
    main()
