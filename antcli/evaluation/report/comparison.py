"""Several runs side by side, without putting numbers that do not compare in one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antcli.errors import AntError
from antcli.evaluation.listener import SILENT, Listener
from antcli.evaluation.measuring import METRICS, Metric
from antcli.evaluation.report.page import render, square, write_page
from antcli.evaluation.results import (
    Found,
    MetricTables,
    ResultTable,
    definition_facts,
    read_evaluation,
    short,
)
from antcli.evaluation.samples import SamplingPlan, drawn_images
from antcli.runs.run import Run

SPACE = "  "
STRIP = 8
"""Samples of each row."""


@dataclass(frozen=True)
class MeasuredRun:
    """A run as it is compared."""

    name: str
    source: str
    """Names the source with its weights: runs that share it share its row."""
    evaluation: Mapping[str, Any]


@dataclass(frozen=True)
class Basis:
    """What two numbers have to share to stand in one table."""

    metric: Metric
    space: str
    against: str
    """Hash of the reference's images, or of the target's for what compares with these."""
    definition: str
    """As JSON: all that the number's making depends on, the number of images included."""

    def facts(self) -> dict[str, str]:
        """What it consists of, each by its name."""
        made = definition_facts(json.loads(self.definition))
        return {"space": self.space, "images compared with": self.against, **made}


@dataclass(frozen=True)
class Table(ResultTable):
    """What was measured on one basis: the runs, then their sources.

    Its caption is its space, and all in which it differs from the other tables of its metric.
    """

    basis: Basis


@dataclass(frozen=True)
class ComparedMetric(MetricTables):
    """One metric of several runs."""

    tables: Sequence[Table]

    def as_dict(self) -> dict[str, Any]:
        """The tables as JSON takes them: of each result its plain numbers."""
        tables = [
            {
                "space": table.basis.space,
                "against": table.basis.against,
                "definition": json.loads(table.basis.definition),
                "rows": [
                    {"name": name, **{k: v for k, v in found.items() if isinstance(v, int | float)}}
                    for name, found in table.rows
                ],
            }
            for table in self.tables
        ]
        return {"metric": self.metric, "warning": self.warning, "tables": tables}


def make_comparison(
    runs: Sequence[Run], path: Path, device: str = "auto", listener: Listener = SILENT
) -> list[ComparedMetric]:
    """Write the page of several runs that are measured, and of their sources; its tables.

    Raises `AntError` where one has not been measured, or the file cannot be written.
    """
    measured = [(run, _measured(run)) for run in runs]
    tables = compare([one for _, one in measured])
    plans = {one.name: SamplingPlan.first(run, STRIP) for run, one in measured}
    for run, one in measured:
        plans.setdefault(one.source, SamplingPlan.first(run, STRIP, adapted=False))
    strips = [(name, drawn_images(plan, device, listener).paths) for name, plan in plans.items()]
    write_page(path, comparison_html(tables, strips))
    return tables


def _measured(run: Run) -> MeasuredRun:
    evaluation = read_evaluation(run)
    if evaluation is None:
        raise AntError(
            f"{run.folder} has not been measured, or its weights have changed since",
            f"ant evaluate all {run.folder}",
        )
    name, sha256 = Path(run.config().source).name, run.facts()["source_sha256"]
    return MeasuredRun(str(run.folder), f"{name} ({sha256[:8]}), not adapted", evaluation)


def compare(runs: Sequence[MeasuredRun]) -> list[ComparedMetric]:
    """The runs in their order, then each of their sources once, as it was before any of them.

    A table holds numbers of one basis only: one feature space, one reference, one definition,
    as many images. Where two runs were measured in two ways, each way has a table of its own.
    """
    lines: dict[str, dict[Basis, Found]] = {run.name: {} for run in runs}
    for run in runs:
        adapted, source = run.evaluation["rows"]
        lines[run.name] |= dict(_results(run, adapted))
        lines.setdefault(run.source, {}).update(_results(run, source))
    bases = dict.fromkeys(basis for results in lines.values() for basis in results)
    ways = {metric: [b for b in bases if b.metric == metric] for metric in METRICS}
    return [_compared(metric, found, lines) for metric, found in ways.items() if found]


def _results(run: MeasuredRun, row: Mapping[str, Any]) -> Iterator[tuple[Basis, Found]]:
    for metric, found in row["metrics"].items():
        target = hashlib.sha256("".join(run.evaluation["target_sha256"]).encode()).hexdigest()
        against = f"sha256:{found.get('reference_sha256', target)}"
        definition = json.dumps(found["definition"], sort_keys=True)
        yield Basis(metric, found["space"], against, definition), found


def _compared(
    metric: Metric, bases: Sequence[Basis], lines: Mapping[str, Mapping[Basis, Found]]
) -> ComparedMetric:
    facts = [basis.facts() for basis in bases]
    names = dict.fromkeys(name for each in facts for name in each)
    differing = tuple(name for name in names if len({each.get(name) for each in facts}) > 1)
    tables = [
        Table(
            metric,
            _caption(each, differing),
            tuple((name, results[basis]) for name, results in lines.items() if basis in results),
            basis,
        )
        for basis, each in zip(bases, facts, strict=True)
    ]
    return ComparedMetric(metric, tables, differing)


def _caption(facts: Mapping[str, str], differing: Sequence[str]) -> str:
    own = [f"{name}: {facts.get(name, 'none')}" for name in differing if name != "space"]
    return short("; ".join([facts["space"], *own]))


def comparison_text(metrics: Sequence[ComparedMetric]) -> str:
    """Every table as aligned text, with its caption, its cautions and its definition."""
    return "\n\n".join("\n".join(_text(compared)) for compared in metrics)


def comparison_html(
    metrics: Sequence[ComparedMetric], strips: Sequence[tuple[str, Sequence[Path]]]
) -> str:
    """The page. `strips` are the names of the rows, and samples of each from equal seeds."""
    pictures = [
        (name, [(f"seed {int(path.stem)}", [square(path)]) for path in paths])
        for name, paths in strips
    ]
    return render("comparison.html", metrics=metrics, strips=pictures)


def _text(compared: ComparedMetric) -> Iterator[str]:
    yield compared.kind.title
    if compared.warning:
        yield f"  caution: {compared.warning}"
    for table in compared.tables:
        columns = list(zip(table.head, *table.lines, strict=True))
        widths = [max(map(len, column)) for column in columns]
        yield f"  {table.caption}"
        for line in zip(*columns, strict=True):
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            yield f"  {SPACE.join(cells)}".rstrip()
        yield from (f"  caution: {line}" for line in table.cautions)
        yield f"  definition: {table.definition}"
