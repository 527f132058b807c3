"""The report of a run: one HTML file that needs nothing else, to read, send and print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from antcli.evaluation.report.advice import Advice, advise
from antcli.evaluation.report.made import (
    samples_section,
    settings_section,
    target_section,
    title_of,
)
from antcli.evaluation.report.measured import metrics_section, pairs_section, steps_section
from antcli.evaluation.report.page import code, page, paragraph, write_page
from antcli.evaluation.stopping import read_scores
from antcli.runs import Run


def report_html(
    run: Run, evaluation: Mapping[str, Any], samples: Sequence[tuple[Path, Path]]
) -> str:
    """The report as HTML.

    `evaluation` is what `ant evaluate all` keeps; `samples` are images of the source and of the
    adapted model, from the same noise. Raises `AntError` where one of these cannot be read.
    """
    scores = read_scores(run.scores)
    sections = [
        ("What was adapted", settings_section(run)),
        ("The target", target_section(run)),
        ("Samples beside the source's", samples_section(samples)),
        ("Over the steps", steps_section(run, scores)),
        ("Measured", metrics_section(evaluation)),
        ("Nearest pairs", pairs_section(run, evaluation)),
        ("What to try next", _next(advise(run, evaluation, scores))),
    ]
    return page(title_of(run), sections)


def write_report(
    path: Path, run: Run, evaluation: Mapping[str, Any], samples: Sequence[tuple[Path, Path]]
) -> None:
    """Write the report. Raises `AntError` as `report_html` does, and if it cannot be written."""
    write_page(path, report_html(run, evaluation, samples))


def _next(advice: Sequence[Advice]) -> str:
    if not advice:
        return paragraph(
            "The numbers suggest nothing. Look at the samples: they have the last word."
        )
    return "\n".join(
        paragraph(one.text) + (code(one.command) if one.command else "") for one in advice
    )
