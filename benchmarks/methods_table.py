"""The table, the figure and the pages of `methods.py` from what it has measured so far.

python benchmarks/methods_table.py
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from table import made_by, spread

from antcli.artifacts import replacing
from antcli.images.grid import GAP, save_png
from antcli.methods.table import METHODS

matplotlib.use("agg")
from matplotlib import pyplot

RESULTS = Path(__file__).parent / "results"
UNTRAINED = ("source", "oracle")
TARGETS = ("sunglasses", "babies", "sketches", "paintings")
Row = Mapping[str, Any]
Look = Mapping[str, Any]
COLUMNS: dict[str, tuple[str, str]] = {
    "distance": ("distance", ".1f"),
    "way left": ("way left", ".0%"),
    "by a second judge": ("second way left", ".0%"),
    "KID": ("kid", ",.0f"),
    "Intra-LPIPS": ("intra_lpips", ".3f"),
    "diversity": ("diversity", ".2f"),
    "copies": ("copy rate", ".2f"),
    "recall": ("recall", ".2f"),
    "coverage": ("coverage", ".2f"),
    "target share": ("target share", ".2f"),
    "evaluations": ("evaluations", ",.0f"),
    "of the classifier": ("of_classifiers", ",.0f"),
    "seconds": ("seconds", ".0f"),
    "of processors": ("of_processors", ".0f"),
    "GiB": ("memory", ".2f"),
}
"""By its head: the measure at the step that the rule takes, and how it is written."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^Dv"
"""Seven colours that colour-blind people tell apart, and a mark for each seven methods."""


def load(results: Path) -> list[dict[str, Any]]:
    """All rows that there are, in the order of the table."""
    rows = [json.loads(file.read_text()) for file in (results / "methods").glob("*.json")]
    names = [*UNTRAINED, *METHODS]
    key = lambda row: (TARGETS.index(row["target"]), names.index(row["method"]), row["seed"])  # noqa: E731
    return sorted(rows, key=key)


def at_rule(row: Row) -> Look:
    """What was measured at the step that the stopping rule takes."""
    return row["steps"][str(row["rule"])]


def budget(rows: Sequence[Row]) -> int:
    """The least number of evaluations within which every method has a checkpoint."""
    first = [min(look["evaluations"] for look in row["steps"].values()) for row in rows]
    return max(first, default=0)


def within(row: Row, most: int) -> Look:
    """What was measured at the last step that takes no more evaluations."""
    able = [look for look in row["steps"].values() if look["evaluations"] <= most]
    return max(able, key=lambda look: look["evaluations"])


def table(rows: Sequence[Row], target: str) -> str:
    """The rows of a target as Markdown."""
    of_target = [row for row in rows if row["target"] == target]
    most = budget([row for row in of_target if row["method"] not in UNTRAINED])
    heads = ["method", "seeds", "step", *COLUMNS, "parameters", "best step", "way left there"]
    heads.append(f"way left within {most:,} evaluations")
    lines = ["| " + " | ".join(heads) + " |\n", "|---" * len(heads) + "|\n"]
    for method in dict.fromkeys(row["method"] for row in of_target):
        own = [row for row in of_target if row["method"] == method]
        lines.append("| " + " | ".join(_cells(method, own, most)) + " |\n")
    return f"## {target}\n\n" + "".join(lines) + "\n"


def _cells(method: str, own: Sequence[Row], most: int) -> list[str]:
    def each(pick: Callable[[Row], float | None], form: str) -> str:
        return spread([pick(row) for row in own], form)

    cells = [method, str(len(own)), each(lambda row: row["rule"] or None, ".0f")]
    for name, form in COLUMNS.values():
        cells.append(each(lambda row, name=name: at_rule(row).get(name), form))
    cells.append(each(lambda row: row.get("parameters"), ",.0f"))
    if method in UNTRAINED:
        return [*cells, "-", "-", "-"]
    best = lambda row: row["steps"][str(row["hindsight"])]["way left"]  # noqa: E731
    cells += [each(lambda row: row["hindsight"], ".0f"), each(best, ".0%")]
    return [*cells, each(lambda row: within(row, most)["way left"], ".0%")]


def figure(rows: Sequence[Row], path: Path) -> None:
    """Distance against diversity: a panel for each target, a point for each method and seed."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    columns = min(2, len(targets))
    lines = math.ceil(len(targets) / columns)
    shape, size = (lines, columns), (5.6 * columns + 2.4, 4.6 * lines)
    drawn, axes = pyplot.subplots(
        *shape, figsize=size, squeeze=False, sharey=True, layout="constrained"
    )
    for panel in axes.flat[len(targets) :]:
        panel.remove()
    named: dict[str, Any] = {}
    for target, panel in zip(targets, axes.flat, strict=False):
        named |= _panel(panel, target, [row for row in rows if row["target"] == target])
    order = [name for name in (*UNTRAINED, *METHODS) if name in named]
    drawn.legend([named[n] for n in order], order, loc="outside right center", frameon=False)
    with replacing(path) as temporary:
        drawn.savefig(temporary, format="png", dpi=110)
    pyplot.close(drawn)


def _panel(panel: Any, target: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Draw a target's points; what stands for each method."""
    named = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        looks = [at_rule(row) for row in rows if row["method"] == method]
        place = [[100 * look["way left"], look["diversity"]] for look in looks]
        named[method] = panel.scatter(*zip(*place, strict=True), **_mark(method))
    panel.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    panel.axhline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
    panel.set_title(target)
    panel.set_xlabel("way left, % (0: as good as ten images allow; 100: the source)")
    panel.set_ylabel("diversity (1: as varied as the target's domain)")
    panel.spines[["top", "right"]].set_visible(False)
    return named


def _mark(method: str) -> dict[str, Any]:
    if method in UNTRAINED:
        filled = {"source": "none", "oracle": "#000000"}[method]
        return {"marker": "*", "s": 170, "facecolors": filled, "edgecolors": "#000000"}
    place = list(METHODS).index(method)
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place // len(COLOURS)]
    return {"color": colour, "marker": marker, "s": 42, "alpha": 0.85}


def page(method: str, runs: Path, path: Path) -> None:
    """Samples of a method at the step that the rule takes, seed 0: the targets that there are."""
    found = {target: runs / f"{target}-{method}-0" / "page.png" for target in TARGETS}
    strips = {target: Image.open(file) for target, file in found.items() if file.exists()}
    if not strips:
        return
    font = ImageFont.load_default(size=18)
    line = 18 + GAP
    width = max(strip.width for strip in strips.values())
    height = sum(strip.height + line + GAP for strip in strips.values())
    whole, top = Image.new("RGB", (width, height), "white"), 0
    for target, strip in strips.items():
        ImageDraw.Draw(whole).text((2, top + 2), f"{method}: {target}", "black", font)
        whole.paste(strip, (0, top + line))
        top += strip.height + line + GAP
    save_png(path, whole, {})


def write_all(results: Path, runs: Path) -> None:
    """The table as Markdown and JSON, the figure, and a page of each method."""
    rows = load(results)
    if not rows:
        return
    notes = results / "methods-notes.md"
    head = notes.read_text() if notes.exists() else "# All methods\n"
    text = head + "\n" + "".join(table(rows, t) for t in TARGETS if _has(rows, t)) + _made(rows)
    (results / "methods.md").write_text(text)
    (results / "methods.json").write_text(json.dumps(rows, indent=1) + "\n")
    figure(rows, results / "methods.png")
    for method in {row["method"] for row in rows} - set(UNTRAINED):
        page(method, runs, results / "pages" / f"methods-{method}.png")


def _has(rows: Sequence[Row], target: str) -> bool:
    return any(row["target"] == target for row in rows)


def _made(rows: Sequence[Row]) -> str:
    """With what, and at what cost."""
    cost = statistics.fmean(row["cpu_seconds_of_row"] for row in rows)
    return made_by(rows) + f"\nA row took {cost:.0f} s of processors in the mean.\n"


if __name__ == "__main__":
    write_all(RESULTS, Path(__file__).parent / ".cache" / "methods")
