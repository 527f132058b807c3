"""`ant evaluate report` and `compare`: what the numbers and the images of runs say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antcli.cli.console import json_result, result, say
from antcli.cli.evaluate.asked import Asked, drawn
from antcli.cli.options import DeviceOption, JsonOption, RunArgument
from antcli.errors import AntError

if TYPE_CHECKING:
    from antcli.evaluation.report.comparison import Measured
    from antcli.runs import Run

SHOWN = 24
"""Pairs of samples in a report."""
STRIP = 8
"""Samples of each row of a comparison."""
MEASURED = 200
"""Samples, where nothing was measured before."""
PAGES = {".html", ".htm"}


def report_command(
    run: RunArgument = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="[default: RUN/report.html]")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """One HTML file with all there is to see of a run: settings, samples, numbers, what next.

    Takes what `ant evaluate all` and `ant evaluate checkpoints` kept; does first what is missing.
    """
    from antcli.evaluation.report import write_report
    from antcli.runs import find_run

    found = find_run(run)
    place = _file(out or found.report)
    evaluation = _evaluation(found, device)
    _score(found, device)
    source, adapted = (_samples(found, SHOWN, device, adapted=which) for which in (False, True))
    write_report(place, found, evaluation, list(zip(source, adapted, strict=True)))
    result(str(place))


def compare_command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs that are measured.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE.html", help="The tables, with samples of each.")
    ] = Path("comparison.html"),
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Tables of several runs and their sources; numbers that do not compare stay apart.

    `ant evaluate all RUN` measures a run.
    """
    from antcli.evaluation.report.comparison import compare
    from antcli.evaluation.report.comparison_page import comparison_text, write_comparison
    from antcli.runs import find_run

    place = _file(out)
    found = [find_run(run) for run in dict.fromkeys(runs)]
    measured = [_measured(run) for run in found]
    metrics = compare(measured)
    if as_json:
        json_result({"metrics": [compared.as_dict() for compared in metrics]})
    else:
        result(comparison_text(metrics))
    strips = {m.name: _samples(r, STRIP, device) for r, m in zip(found, measured, strict=True)}
    for one, how in zip(found, measured, strict=True):
        if how.source not in strips:
            strips[how.source] = _samples(one, STRIP, device, adapted=False)
    write_comparison(place, metrics, list(strips.items()))
    say(f"the same with samples: {place}")


def _file(place: Path) -> Path:
    """`place`, if a page can be there: better said now than after an hour."""
    if place.is_dir() or place.suffix not in PAGES:
        raise AntError(f"{place} is no HTML file", "name one with --out FILE.html", exit_code=2)
    nearest = next(folder for folder in place.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise AntError(f"{nearest} is no folder", "name another place with --out", exit_code=2)
    return place


def _evaluation(run: Run, device: str) -> dict[str, Any]:
    """What was kept; measured now where nothing was, or of other weights."""
    from antcli.cli.evaluate.whole import evaluate_all
    from antcli.evaluation.report.kept import read_evaluation

    kept = read_evaluation(run)
    if kept is not None:
        return kept
    say(f"{run.folder} has no numbers of its present weights: measuring {MEASURED} samples")
    return evaluate_all(
        Asked(run.folder, count=MEASURED, features="source", net="vgg", device=device)
    )


def _score(run: Run, device: str) -> None:
    """Score the checkpoints unless that was done; a report without the curve is one, too."""
    from antcli.cli.evaluate.checkpoints import score_checkpoints

    if run.scores.exists() or not run.checkpoints:
        return
    try:
        score_checkpoints(run, device)
    except AntError as error:
        say(f"left out: the scores over the steps: {error.message}")


def _samples(run: Run, count: int, device: str, *, adapted: bool = True) -> tuple[Path, ...]:
    """The first images that a run, or its source, draws."""
    from antcli.evaluation.samples import SamplingPlan

    folder = run.samples if adapted else run.source_samples
    return drawn(SamplingPlan(run, folder, range(count), adapted=adapted), device).paths


def _measured(run: Run) -> Measured:
    from antcli.evaluation.report.comparison import Measured
    from antcli.evaluation.report.kept import read_evaluation

    evaluation = read_evaluation(run)
    if evaluation is None:
        raise AntError(
            f"{run.folder} has not been measured, or its weights have changed since",
            f"ant evaluate all {run.folder}",
        )
    name, sha256 = Path(run.config().source).name, run.facts()["source_sha256"]
    return Measured(str(run.folder), f"{name} ({sha256[:8]}), not adapted", evaluation)
