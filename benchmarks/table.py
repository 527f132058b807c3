"""The table of the ablation from its runs: benchmarks/results/ablation.md and .json.

python benchmarks/table.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation import LATENT_ROWS, ROWS, SOURCE, UNTRAINED, named

RESULTS = Path(__file__).parent / "results"
LATENT = "avatars-64"
ALL_ROWS = (*ROWS, *(named(LATENT, row) for row in LATENT_ROWS))
HEADER = """| row | best distance | at step | target share | diversity | Intra-LPIPS | nearest \
| parameters | s / step | peak GiB |
|---|---|---|---|---|---|---|---|---|---|
"""


def load() -> list[dict[str, Any]]:
    """All runs of the ablation."""
    return [json.loads(f.read_text()) for f in sorted((RESULTS / "runs").glob("*.json"))]


def spread(values: Sequence[float | None], form: str) -> str:
    """Median, and the least and greatest where they differ."""
    there = [value for value in values if value is not None]
    if not there:
        return "-"
    middle = format(statistics.median(there), form)
    least, greatest = format(min(there), form), format(max(there), form)
    return middle if least == greatest else f"{middle} ({least} to {greatest})"


def made_by(rows: Sequence[Mapping[str, Any]]) -> str:
    """The commands, machines and versions behind rows, as `rows.py` notes them."""
    ways = {
        f"- `{row['command']}`; {row['device']}, {row['precision']}, {row['threads']} threads; "
        + ", ".join(f"{name} {version}" for name, version in row["versions"].items())
        for row in rows
    }
    return "Made by\n\n" + "\n".join(sorted(ways)) + "\n"


def best(run: dict[str, Any]) -> dict[str, float]:
    """The measures of a run at its best step."""
    return run["curve"][str(run["best_step"])]


def cost_of(name: str, what: str, form: str) -> str:
    """What a step of a row costs, by `ablation.py --costs`."""
    files = [RESULTS / f"{named(source, 'costs')}.json" for source in (SOURCE, LATENT)]
    rows = [json.loads(file.read_text())["rows"] for file in files if file.exists()]
    rounds = [one for row in rows for one in row.get(name, [])]
    return spread([one[what] for one in rounds], form)


def row_of(name: str, runs: Sequence[dict[str, Any]]) -> str:
    """One line of the table."""

    def each(pick: Callable[[dict[str, Any]], float | None], form: str) -> str:
        return spread([pick(run) for run in runs], form)

    cells = [
        name,
        each(lambda r: best(r)["distance"], ".1f"),
        each(lambda r: r["best_step"], ".0f"),
        each(lambda r: best(r)["target_share"], ".2f"),
        each(lambda r: best(r)["diversity"], ".2f"),
        each(lambda r: r["intra_lpips"], ".3f"),
        each(lambda r: best(r)["nearest"], ".3f"),
        each(lambda r: r.get("parameters"), ",.0f") if "parameters" in runs[0] else "-",
        cost_of(name, "seconds_per_step", ".2f"),
        cost_of(name, "peak_memory_gib", ".2f"),
    ]
    return "| " + " | ".join(cells) + " |\n"


def curves(runs: Sequence[dict[str, Any]]) -> str:
    """Mean distance over seeds after each measured step."""
    steps = sorted({int(s) for run in runs if "parameters" in run for s in run["curve"]})
    lines = ["| row | " + " | ".join(map(str, steps)) + " |\n", "|---" * (len(steps) + 1) + "|\n"]
    for name in [name for name in ALL_ROWS if not name.endswith(UNTRAINED)]:
        own = [run["curve"] for run in runs if run["row"] == name]
        if not own:
            continue
        after = [[c[str(s)]["distance"] for c in own if str(s) in c] for s in steps]
        means = [f"{statistics.fmean(found):.1f}" if found else "-" for found in after]
        lines.append(f"| {name} | " + " | ".join(means) + " |\n")
    return "".join(lines)


def main() -> None:
    """Write both files."""
    runs = load()
    text = "# What each part of ANT adds\n\n"
    notes = Path(__file__).parent / "ablation-notes.md"
    text += notes.read_text() + "\n"
    for target in dict.fromkeys(run["target"] for run in runs):
        of_target = [run for run in runs if run["target"] == target]
        text += f"## {target}\n\nMedian (least to greatest) over seeds.\n\n" + HEADER
        for name in ALL_ROWS:
            own = [run for run in of_target if run["row"] == name]
            text += row_of(name, own) if own else ""
        text += "\nMean distance over seeds, by step:\n\n" + curves(of_target) + "\n"
    (RESULTS / "ablation.md").write_text(text)
    (RESULTS / "ablation.json").write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
