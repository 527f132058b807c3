"""Several runs side by side, without putting numbers that do not compare in one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antcli.evaluation.measuring import METRICS, Metric
from antcli.evaluation.report.numbers import KINDS, Found, definition_facts, short


@dataclass(frozen=True)
class Measured:
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
class Table:
    """What was measured on one basis."""

    basis: Basis
    caption: str
    """Its space, and all in which it differs from the other tables of its metric."""
    rows: tuple[tuple[str, Found], ...]
    """The names of the runs, then of their sources, with their results."""


@dataclass(frozen=True)
class Compared:
    """One metric: a table for each way in which it was measured."""

    metric: Metric
    tables: tuple[Table, ...]
    differing: tuple[str, ...]
    """In what the tables differ; nothing where there is one."""

    @property
    def warning(self) -> str:
        """What a reader of several tables has to know."""
        if not self.differing:
            return ""
        return (
            f"{KINDS[self.metric].title} was measured in {len(self.tables)} ways, which do not "
            f"compare with each other: they differ in {', '.join(self.differing)}"
        )

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


def compare(runs: Sequence[Measured]) -> list[Compared]:
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


def _results(run: Measured, row: Mapping[str, Any]) -> Iterator[tuple[Basis, Found]]:
    for metric, found in row["metrics"].items():
        target = hashlib.sha256("".join(run.evaluation["target_sha256"]).encode()).hexdigest()
        against = f"sha256:{found.get('reference_sha256', target)}"
        definition = json.dumps(found["definition"], sort_keys=True)
        yield Basis(metric, found["space"], against, definition), found


def _compared(
    metric: Metric, bases: Sequence[Basis], lines: Mapping[str, Mapping[Basis, Found]]
) -> Compared:
    facts = [basis.facts() for basis in bases]
    names = dict.fromkeys(name for each in facts for name in each)
    differing = tuple(name for name in names if len({each.get(name) for each in facts}) > 1)
    tables = [
        Table(
            basis,
            _caption(each, differing),
            tuple((name, results[basis]) for name, results in lines.items() if basis in results),
        )
        for basis, each in zip(bases, facts, strict=True)
    ]
    return Compared(metric, tuple(tables), differing)


def _caption(facts: Mapping[str, str], differing: Sequence[str]) -> str:
    own = [f"{name}: {facts.get(name, 'none')}" for name in differing if name != "space"]
    return short("; ".join([facts["space"], *own]))
