"""`ant evaluate report` and `compare`: what the numbers and the images of runs say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antcli.cli.console import json_result, result, say
from antcli.cli.evaluate.options import OwnTargetOption
from antcli.cli.evaluate.show import listening
from antcli.cli.options import DeviceOption, JsonOption, RunArgument
from antcli.errors import AntError

PAGES = {".html", ".htm"}


def report_command(
    run: RunArgument = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Where it goes.", show_default="RUN/report.html"),
    ] = None,
    target: OwnTargetOption = None,
    device: DeviceOption = "auto",
) -> None:
    """One HTML file with all there is to see of a run: samples, what they are worth, what next.

    Takes what `ant evaluate all` and `ant evaluate checkpoints` kept; does first what is missing.
    """
    from antcli.evaluation.report.content import make_report
    from antcli.runs.latest import find_run

    found = find_run(run)
    place = _file(out or found.report)
    with listening() as listener:
        make_report(found, place, device, listener, target)
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
    from antcli.evaluation.report.comparison import comparison_text, make_comparison
    from antcli.runs.latest import find_run

    place = _file(out)
    found = [find_run(run) for run in dict.fromkeys(runs)]
    with listening() as listener:
        metrics = make_comparison(found, place, device, listener)
    if as_json:
        json_result({"metrics": [compared.as_dict() for compared in metrics]})
    else:
        result(comparison_text(metrics))
    say(f"the same with samples: {place}")


def _file(place: Path) -> Path:
    """`place`, if a page can be there."""
    from antcli.artifacts import check_writable

    if place.is_dir() or place.suffix not in PAGES:
        raise AntError(f"{place} is no HTML file", "name one with --out FILE.html", exit_code=2)
    check_writable(place)
    return place
