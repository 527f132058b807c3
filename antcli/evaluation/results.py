"""What each metric's result means in words, which numbers of it are shown, and where it is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from antcli.evaluation.kernel import CONFIDENCE
from antcli.evaluation.measuring import METRICS, Metric
from antcli.evaluation.stopping import Score
from antcli.runs.run import Run

Found = Mapping[str, Any]
"""The result of one metric for one row of images, as `measure` gives it."""
NEEDED = {"rows", "left_out", "space", "images", "reference_images", "target_sha256"}
"""What a report reads; another version of the program may have kept less."""
EACH = "each condition beside its own images alone"
NEEDED_OF_A_METRIC = {"space", "definition"}


@dataclass(frozen=True)
class Number:
    """One number of a metric's result."""

    name: str
    key: str
    better: Literal["higher", "lower"]
    decimals: int = 3
    ends: tuple[str, str] | None = None
    """Keys of its interval."""
    spread: str | None = None
    """Key of its standard deviation over parts, which is no interval."""

    def text(self, found: Found) -> str:
        """The number, with its interval or spread."""
        text = plain(found[self.key], self.decimals)
        if self.ends is not None:
            low, high = (plain(found[end], self.decimals) for end in self.ends)
            text += f" ({low} to {high})"
        if self.spread is not None and found[self.spread] is not None:
            text += f" ± {plain(found[self.spread], self.decimals)}"
        return text

    @property
    def head(self) -> str:
        """Its name, and an arrow that says which way is better."""
        return f"{self.name} {'↑' if self.better == 'higher' else '↓'}"


@dataclass(frozen=True)
class Kind:
    """A metric, as a person who meets it for the first time wants it explained."""

    title: str
    meaning: str
    numbers: tuple[Number, ...]


KINDS: dict[Metric, Kind] = {
    "intra-lpips": Kind(
        "Intra-LPIPS",
        "How much the samples that lie nearest to the same target image differ from each other, "
        "in the mean over the target images; after the ± its standard deviation over them, which "
        "is no interval. Higher is more diverse, but high is not good in itself: a source that "
        "was not adapted at all scores high (in the ANT paper's own table 0.650, the adapted "
        "model 0.613). Read it beside the distances, and never alone.",
        (Number("Intra-LPIPS", "value", "higher", decimals=4, spread="std"),),
    ),
    "fid": Kind(
        "Frechet distance",
        "How far the samples as a whole are from the reference, if both were clouds of Gaussian "
        "shape. Lower is nearer. It is called FID in Inception's features only, and falls with "
        "the number of images: compare it at equal numbers.",
        (Number("Frechet distance", "value", "lower"),),
    ),
    "kid": Kind(
        "Kernel distance",
        "How far the samples as a whole are from the reference, without assuming a shape and "
        "without a bias by the number of images; about 0, or a little below, for sets that are "
        f"alike. Lower is nearer. In brackets its {CONFIDENCE:.0%} interval.",
        (Number("kernel distance", "value", "lower", ends=("low", "high")),),
    ),
    "prdc": Kind(
        "Precision, recall, density, coverage",
        "Precision: share of samples that lie where the reference does. Recall: share of the "
        "reference that lies where samples do. Density: precision that counts how often (about 1 "
        "for sets that are alike, more where samples crowd). Coverage: share of the reference "
        "with a sample near it. Higher is better in all four.",
        (
            Number("precision", "precision", "higher"),
            Number("recall", "recall", "higher"),
            Number("density", "density", "higher"),
            Number("coverage", "coverage", "higher"),
        ),
    ),
    "memorization": Kind(
        "Memorization",
        "Copied: share of samples that are nearer to a target image than any two target images "
        "are to each other; lower is better. Authenticity: share of samples that are not nearer "
        "to a target image than its own neighbour among the target's is; higher is better.",
        (
            Number("copied", "copy_rate", "lower"),
            Number("authenticity", "authenticity", "higher"),
        ),
    ),
}


@dataclass(frozen=True)
class ResultTable:
    """The results of rows that compare with each other, and all that it takes to read them."""

    metric: Metric
    caption: str
    rows: Sequence[tuple[str, Found]]

    @property
    def heading(self) -> str:
        """The metric and its caption."""
        return f"{KINDS[self.metric].title} in {self.caption}"

    @property
    def head(self) -> list[str]:
        """Of the columns; the first holds names."""
        return ["", *(number.head for number in KINDS[self.metric].numbers)]

    @property
    def lines(self) -> list[list[str]]:
        """The names of the rows and their numbers."""
        numbers = KINDS[self.metric].numbers
        return [[name, *(number.text(found) for number in numbers)] for name, found in self.rows]

    @property
    def remarks(self) -> list[str]:
        """What else a reader of the numbers has to know."""
        told = (_remark(self.metric, name, found) for name, found in self.rows)
        return [line for line in dict.fromkeys(told) if line]

    @property
    def cautions(self) -> list[str]:
        """What the results warn of, each once."""
        warned = (line for _, found in self.rows for line in found.get("cautions", ()))
        return list(dict.fromkeys(warned))

    @property
    def definition(self) -> str:
        """How the numbers are defined, in one line."""
        facts = definition_facts(self.rows[0][1]["definition"])
        return "; ".join(f"{name}: {value}" for name, value in facts.items())


@dataclass(frozen=True)
class MetricTables:
    """One metric: a table for each way in which it was measured."""

    metric: Metric
    tables: Sequence[ResultTable]
    differing: tuple[str, ...] = ()
    """In what the tables differ; nothing where there is one."""

    @property
    def kind(self) -> Kind:
        """The metric, explained."""
        return KINDS[self.metric]

    @property
    def warning(self) -> str:
        """What a reader of several tables has to know."""
        if not self.differing:
            return ""
        return (
            f"{self.kind.title} was measured in {len(self.tables)} ways, which do not "
            f"compare with each other: they differ in {', '.join(self.differing)}"
        )


def metric_tables(evaluation: Mapping[str, Any]) -> Iterator[MetricTables]:
    """What `evaluate_run` kept of a run and its source, metric by metric."""
    for metric in METRICS:
        if metric in evaluation["rows"][0]["metrics"]:
            rows = [(row["name"], row["metrics"][metric]) for row in evaluation["rows"]]
            space = short(rows[0][1]["space"])
            tables = [ResultTable(metric, space, rows)]
            each = [*condition_rows(evaluation, metric)]
            if each:
                tables.append(ResultTable(metric, f"{space}, {EACH}", each))
            yield MetricTables(metric, tables)


def condition_rows(evaluation: Mapping[str, Any], metric: Metric) -> Iterator[tuple[str, Found]]:
    """A row for each condition of a run, and one for its source; none of other runs."""
    for condition in evaluation.get("conditions", ()):
        for row in condition["rows"]:
            if metric in row["metrics"]:
                yield f"{condition['name']}: {row['name']}", row["metrics"][metric]


def plain(value: float | None, decimals: int = 3) -> str:
    """A number with so many decimals; with two digits where they would show nothing of it."""
    if value is None:
        return "none"
    return f"{value:.2g}" if 0 < abs(value) < 0.1 ** (decimals - 1) else f"{value:.{decimals}f}"


def short(label: str) -> str:
    """A label with its hashes cut: they tell spaces apart, and are in full in the definition."""
    return re.sub(r"(sha256:[0-9a-f]{8})[0-9a-f]+", r"\1", label)


def definition_facts(definition: Mapping[str, Any]) -> dict[str, str]:
    """How numbers are defined, for a person to read."""
    return {
        name.replace("_", " "): f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in definition.items()
    }


def both_rows(evaluation: Mapping[str, Any], metric: Metric) -> tuple[Found, ...]:
    """The results for the adapted model and for its source; empty where it was left out."""
    adapted, source = (row["metrics"].get(metric, {}) for row in evaluation["rows"])
    return adapted, source


def diversity_kept(
    step: int, evaluation: Mapping[str, Any], scores: Sequence[Score]
) -> float | None:
    """As a share of the source's: by the score of the run's step, else by Intra-LPIPS."""
    for score in scores:
        if score.step == step:
            return score.diversity
    adapted, source = (found.get("value") for found in both_rows(evaluation, "intra-lpips"))
    return adapted / source if adapted and source else None


def read_evaluation(run: Run) -> dict[str, Any] | None:
    """What `evaluate_run` kept; None if it did not, or of weights that the run has no more."""
    try:
        evaluation = json.loads(run.evaluation.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(evaluation, dict) or not evaluation.keys() >= NEEDED:
        return None
    results = [found for row in evaluation["rows"] for found in row["metrics"].values()]
    if not all(found.keys() >= NEEDED_OF_A_METRIC for found in results):
        return None
    return evaluation if evaluation.get("weights_sha256") == run.weights_sha256 else None


def _remark(metric: Metric, row: str, found: Found) -> str:
    if metric == "memorization":
        return (
            f"New images of the target's own domain would be called copied in "
            f"{found['copy_rate_by_chance']:.0%} of cases. The threshold, the smallest distance "
            f"between two target images, is {plain(found['threshold'])}."
        )
    if metric == "intra-lpips" and found["dropped"]:
        return (
            f"{row}: {found['dropped']} of {len(found['clusters'])} target images have fewer than "
            "two samples nearest to them and do not count."
        )
    return ""
