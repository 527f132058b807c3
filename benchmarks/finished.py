"""Finished runs in a folder, each measured once and kept as it comes: a benchmark may be cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from antcli.runs.run import Run

Row = dict[str, Any]
WEIGHTS = "weights_sha256"


def finished_runs(folder: Path) -> list[Run]:
    """By their names; a benchmark without any ends here."""
    runs = [run for path in sorted(folder.iterdir()) if (run := Run(path)).finished]
    if not runs:
        raise SystemExit(f"no finished run in {folder}: `ant adapt --out` one there")
    return runs


def measured_once(
    folder: Path, kept: Path, measure: Callable[[Run], Row], told: Callable[[Row], object]
) -> list[Row]:
    """What `measure` finds of each finished run in `folder`, beside what is `kept` of others.

    A row is known by the run's name and the hash of its weights; one of other weights is replaced.
    `told` gives what is printed of a new one.
    """
    rows: list[Row] = json.loads(kept.read_text()) if kept.exists() else []
    known = {(row["run"], row.get(WEIGHTS)) for row in rows}
    for run in finished_runs(folder):
        about = {"run": run.folder.name, WEIGHTS: run.weights_sha256}
        if tuple(about.values()) in known:
            continue
        new = {**about, **measure(run)}
        rows = [row for row in rows if row["run"] != new["run"]] + [new]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(rows, indent=1) + "\n")
        print(new["run"], told(new), flush=True)
    return rows
