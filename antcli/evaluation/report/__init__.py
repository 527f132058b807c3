"""The report of a run and the comparison of several: HTML files that need nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from antcli.errors import AntError
from antcli.evaluation.checkpoints import score_checkpoints
from antcli.evaluation.evaluate import evaluate_run
from antcli.evaluation.listener import SILENT, Listener
from antcli.evaluation.report.comparison import (
    ComparedMetric,
    MeasuredRun,
    compare,
    comparison_html,
)
from antcli.evaluation.report.content import report_html
from antcli.evaluation.report.page import write_page
from antcli.evaluation.results import read_evaluation
from antcli.evaluation.samples import SamplingPlan, drawn_images
from antcli.runs import Run

SHOWN = 24
"""Pairs of samples in a report."""
STRIP = 8
"""Samples of each row of a comparison."""
MEASURED = 200
"""Samples, where nothing was measured before."""


def make_report(run: Run, path: Path, device: str = "auto", listener: Listener = SILENT) -> None:
    """Write the report of a run. What it lacks, numbers, scores or samples, is made first.

    Raises `AntError` where that fails, or the file cannot be written.
    """
    evaluation = _evaluation(run, device, listener)
    if run.checkpoints and not run.scores.exists():
        try:
            score_checkpoints(run, device, listener)
        except AntError as error:  # a report without the curve is one, too
            listener.note(f"left out: the scores over the steps: {error.message}")
    source, adapted = (_samples(run, SHOWN, device, listener, adapted=a) for a in (False, True))
    write_page(path, report_html(run, evaluation, list(zip(source, adapted, strict=True))))


def make_comparison(
    runs: Sequence[Run], path: Path, device: str = "auto", listener: Listener = SILENT
) -> list[ComparedMetric]:
    """Write the page of several runs that are measured, and of their sources; its tables.

    Raises `AntError` where one has not been measured, or the file cannot be written.
    """
    measured = [_measured(run) for run in runs]
    tables = compare(measured)
    strips: dict[str, Sequence[Path]] = {
        one.name: _samples(run, STRIP, device, listener)
        for run, one in zip(runs, measured, strict=True)
    }
    for run, one in zip(runs, measured, strict=True):
        if one.source not in strips:
            strips[one.source] = _samples(run, STRIP, device, listener, adapted=False)
    write_page(path, comparison_html(tables, list(strips.items())))
    return tables


def _evaluation(run: Run, device: str, listener: Listener) -> dict[str, Any]:
    """What was kept; measured now where nothing was, or of other weights."""
    kept = read_evaluation(run)
    if kept is not None:
        return kept
    listener.note(
        f"{run.folder} has no numbers of its present weights: measuring {MEASURED} samples"
    )
    return evaluate_run(run.folder, count=MEASURED, device=device, listener=listener)


def _samples(
    run: Run, count: int, device: str, listener: Listener, *, adapted: bool = True
) -> tuple[Path, ...]:
    """The first images that a run, or its source, draws."""
    folder = run.samples if adapted else run.source_samples
    plan = SamplingPlan(run, folder, range(count), adapted=adapted)
    return drawn_images(plan, device, listener).paths


def _measured(run: Run) -> MeasuredRun:
    evaluation = read_evaluation(run)
    if evaluation is None:
        raise AntError(
            f"{run.folder} has not been measured, or its weights have changed since",
            f"ant evaluate all {run.folder}",
        )
    name, sha256 = Path(run.config().source).name, run.facts()["source_sha256"]
    return MeasuredRun(str(run.folder), f"{name} ({sha256[:8]}), not adapted", evaluation)
