"""What each metric's result means in words, and which numbers of it are shown, and how."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from antcli.evaluation.kernel import CONFIDENCE
from antcli.evaluation.measuring import Metric

Found = Mapping[str, Any]
"""The result of one metric for one row of images, as `measure` gives it."""


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
        if found[self.key] is None:
            return "none"
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


def plain(value: float, decimals: int = 3) -> str:
    """A number with so many decimals; with two digits where they would show nothing of it."""
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


def defined(found: Found) -> str:
    """How the numbers of a result are defined, in one line."""
    return "; ".join(f"{k}: {v}" for k, v in definition_facts(found["definition"]).items())


def texts(metric: Metric, found: Found) -> list[str]:
    """The numbers of a result, in the order of their kind."""
    return [number.text(found) for number in KINDS[metric].numbers]


def cautions_of(results: Iterable[Found]) -> list[str]:
    """What results warn of, each once."""
    return list(dict.fromkeys(line for found in results for line in found.get("cautions", ())))


def remark(metric: Metric, row: str, found: Found) -> str:
    """What else a reader of the numbers of a row has to know; empty where there is nothing."""
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
