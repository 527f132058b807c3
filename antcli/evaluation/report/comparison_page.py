"""Several runs side by side as plain text, and as a page with samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from antcli.evaluation.report.comparison import Compared, Table
from antcli.evaluation.report.measured import metric_table
from antcli.evaluation.report.numbers import KINDS, cautions_of, defined, texts
from antcli.evaluation.report.page import (
    bullets,
    figure,
    gallery,
    page,
    paragraph,
    write_page,
)
from antcli.evaluation.report.pictures import square

SPACE = "  "


def comparison_text(metrics: Sequence[Compared]) -> str:
    """Every table as aligned text, with its caption, its cautions and its definition."""
    return "\n\n".join("\n".join(_lines(compared)) for compared in metrics)


def write_comparison(
    path: Path, metrics: Sequence[Compared], strips: Sequence[tuple[str, Sequence[Path]]]
) -> None:
    """Write the page. `strips` are the names of the rows, and samples of each from equal seeds.

    Raises `AntError` if it cannot be written.
    """
    told = paragraph("An arrow up: higher is better. An arrow down: lower is better.")
    sections = [
        ("Samples from the same noise", _strips(strips)),
        ("Measured", told + "\n".join(_section(compared) for compared in metrics)),
    ]
    write_page(path, page("Runs compared", sections))


def _lines(compared: Compared) -> Iterator[str]:
    yield KINDS[compared.metric].title
    if compared.warning:
        yield f"  caution: {compared.warning}"
    for table in compared.tables:
        yield from _table_lines(compared, table)


def _table_lines(compared: Compared, table: Table) -> Iterator[str]:
    heads = [number.head for number in KINDS[compared.metric].numbers]
    rows = [[name, *texts(compared.metric, found)] for name, found in table.rows]
    columns = list(zip(["", *heads], *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    yield f"  {table.caption}"
    for line in zip(*columns, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield f"  {SPACE.join(cells)}".rstrip()
    results = [found for _, found in table.rows]
    yield from (f"  caution: {line}" for line in cautions_of(results))
    yield f"  definition: {defined(results[0])}"


def _section(compared: Compared) -> str:
    kind = KINDS[compared.metric]
    parts = [
        f"<h3>{kind.title}</h3>",
        paragraph(kind.meaning),
        bullets([compared.warning] if compared.warning else [], "cautions"),
        *(metric_table(compared.metric, table.caption, table.rows) for table in compared.tables),
    ]
    return "<article>\n" + "\n".join(parts) + "\n</article>"


def _strips(strips: Sequence[tuple[str, Sequence[Path]]]) -> str:
    return "\n".join(
        f"<article>{paragraph(name, 'name')}"
        + gallery((figure(square(path), f"seed {int(path.stem)}") for path in paths), "strip")
        + "</article>"
        for name, paths in strips
    )
