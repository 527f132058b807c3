"""How measuring reads on the screen: its progress, its remarks, its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from antcli.cli.console import Bar, result, say
from antcli.cli.options import with_options

if TYPE_CHECKING:
    from antcli.evaluation.listener import Listener

SETTINGS = ("reference", "features", "feature_weights", "trunk_weights")
"""What the engine's remarks name in backticks, and a person at the screen types as an option."""


@contextmanager
def listening() -> Iterator[Listener]:
    """Shows how the engine's work goes on."""
    from antcli.evaluation.listener import Listener

    with Bar() as bar:
        yield Listener(bar.update, lambda line: say(with_options(line, SETTINGS)))


def show(metric: str, row: str, found: Mapping[str, Any]) -> None:
    """Print the result of a metric for one row of images, and how it is defined."""
    first, *more = _LINES[metric](found)
    result(f"{metric} {first} ({row})")
    for line in more:
        result(f"  {line}")
    for key in ("space", "reference_sha256"):
        if key in found:
            result(f"  {key.removesuffix('_sha256')}: {found[key]}")
    result("  definition: " + ", ".join(f"{k}: {v}" for k, v in found["definition"].items()))


def show_cautions(results: Iterable[Mapping[str, Any]]) -> None:
    """What the results warn of, each once: a run and its source are often warned of alike."""
    for caution in dict.fromkeys(line for found in results for line in found.get("cautions", ())):
        say(f"caution: {caution}")


def _intra_lpips(found: Mapping[str, Any]) -> Iterator[str]:
    value = "none: every cluster was dropped" if found["value"] is None else f"{found['value']:.4f}"
    spread = "" if found["std"] is None else f" +- {found['std']:.4f} over clusters"
    yield f"{value}{spread}, {found['dropped']} of {len(found['clusters'])} clusters dropped"
    for cluster in found["clusters"]:
        mean = "dropped" if cluster["mean"] is None else f"{cluster['mean']:.4f}"
        yield f"{cluster['centre']}: {cluster['size']} images, {cluster['used']} used, {mean}"


def _fid(found: Mapping[str, Any]) -> Iterator[str]:
    yield _text(found["value"], ".4f")


def _kid(found: Mapping[str, Any]) -> Iterator[str]:
    value, low, high, mean, std = (
        _text(found[key], ".5g") for key in ("value", "low", "high", "subset_mean", "subset_std")
    )
    yield f"{value}, 95 % interval {low} to {high}"
    yield f"over subsets {mean} +- {std}"


def _prdc(found: Mapping[str, Any]) -> Iterator[str]:
    names = ("precision", "recall", "density", "coverage")
    yield ", ".join(f"{name} {found[name]:.3f}" for name in names)


def _memorization(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"copy rate {found['copy_rate']:.3f} (nearer to a target image than "
        f"{found['threshold']:.4g}; new images of the target's domain: "
        f"{found['copy_rate_by_chance']:.2f})"
    )
    yield f"authenticity {found['authenticity']:.3f}"


def _text(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


_LINES: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "intra-lpips": _intra_lpips,
    "fid": _fid,
    "kid": _kid,
    "prdc": _prdc,
    "memorization": _memorization,
}
