"""`ant evaluate METRIC`: one metric, or all of them.

Most functions here declare options and help only: what they do is the same for each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from antcli.cli.console import json_result, result, say
from antcli.cli.evaluate.options import (
    CountOption,
    FeaturesOption,
    FeatureWeightsOption,
    ImagesOption,
    NetOption,
    ProtocolOption,
    ReferenceOption,
    SourceNameOption,
    TargetOption,
    TrunkWeightsOption,
)
from antcli.cli.evaluate.show import listening, show, show_cautions
from antcli.cli.options import DeviceOption, JsonOption, RunArgument, SeedOption
from antcli.errors import quoted

if TYPE_CHECKING:
    from antcli.evaluation.measuring import Metric
    from antcli.runs.run import Run


def _measure_one(metric: Metric, run: Path | None, as_json: bool, options: dict[str, Any]) -> None:
    from antcli.evaluation.results import condition_rows

    if options.get("features") == "lpips":
        del options["features"]
    elif metric == "memorization":
        options["copies_by"] = "features"
    evaluation = _evaluated(run, {**options, "metrics": [metric]})
    rows = [(row["name"], row["metrics"][metric]) for row in evaluation["rows"]]
    each = [*condition_rows(evaluation, metric)]
    if as_json:
        # The run's own result, and beside it that of its source, and those of each condition.
        source = {"source": rows[1][1]} if len(rows) > 1 else {}
        json_result({**rows[0][1], **source, **({"conditions": dict(each)} if each else {})})
        return
    for name, found in (*rows, *each):
        show(metric, name, found)
    show_cautions(found for _, found in rows)
    if metric == "memorization" and (options["pairs"] or options["images"] is None):
        result(f"nearest pairs: {options['pairs'] or _found(run).nearest_pairs}")


def _measure_all(run: Path | None, as_json: bool, options: dict[str, Any]) -> None:
    from antcli.evaluation.measuring import METRICS
    from antcli.evaluation.results import condition_rows

    evaluation = _evaluated(run, options)
    if as_json:
        json_result(evaluation)
    else:
        for row in evaluation["rows"]:
            for metric, found in row["metrics"].items():
                show(metric, row["name"], found)
        for metric in METRICS:
            for name, found in condition_rows(evaluation, metric):
                show(metric, name, found)
        show_cautions(found for row in evaluation["rows"] for found in row["metrics"].values())
    if options["images"] is None:
        kept = _found(run)
        say(f"kept in {kept.evaluation}; next: ant evaluate report {quoted(kept.folder)}")


def _evaluated(run: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    from antcli.evaluation.evaluate import evaluate_run

    with listening() as listener:
        return evaluate_run(run, listener=listener, **options)


def _found(run: Path | None) -> Run:
    from antcli.runs.latest import find_run

    return find_run(run)


def _command(
    do: Callable[[Path | None, bool, dict[str, Any]], None], told: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a command that does `do` from a function that declares its options and its help."""

    def command_of(declared: Callable[..., None]) -> Callable[..., None]:
        @wraps(declared)
        def command(run: Path | None, as_json: bool, **options: Any) -> None:
            do(run, as_json, options)

        command.__doc__ = told or declared.__doc__
        return command

    return command_of


@_command(partial(_measure_one, "intra-lpips"))
def intra_lpips_command(
    run: RunArgument = None,
    images: ImagesOption = None,
    target: TargetOption = None,
    count: CountOption = 1000,
    net: NetOption = "vgg",
    trunk_weights: TrunkWeightsOption = None,
    protocol: ProtocolOption = "cdc",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Diversity within the clusters around the target's images: higher is more diverse.

    A source that is not adapted at all scores high too: look at the samples as well.
    """


def _in_feature_space(
    run: RunArgument = None,
    images: ImagesOption = None,
    target: TargetOption = None,
    reference: ReferenceOption = None,
    count: CountOption = 1000,
    features: FeaturesOption = "source",
    feature_weights: FeatureWeightsOption = None,
    source: SourceNameOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Options of a metric that compares with a reference."""


fid_command = _command(
    partial(_measure_one, "fid"),
    "Frechet distance to a reference: lower is nearer. Falls with the number of images.",
)(_in_feature_space)
kid_command = _command(
    partial(_measure_one, "kid"),
    "Kernel distance to a reference, unbiased, with its interval: lower is nearer.",
)(_in_feature_space)
prdc_command = _command(
    partial(_measure_one, "prdc"),
    "Precision, recall, density and coverage against a reference: higher is better.",
)(_in_feature_space)


@_command(partial(_measure_one, "memorization"))
def memorization_command(
    run: RunArgument = None,
    images: ImagesOption = None,
    target: TargetOption = None,
    count: CountOption = 1000,
    features: Annotated[
        Literal["lpips", "inception", "dinov2", "source"],
        typer.Option("--features", help="What tells how near two images are."),
    ] = "lpips",
    feature_weights: FeatureWeightsOption = None,
    source: SourceNameOption = None,
    net: NetOption = "vgg",
    trunk_weights: TrunkWeightsOption = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="The page of the nearest pairs.", show_default="RUN/nearest-pairs.png"),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Whether samples copy the target's images, and the twenty nearest pairs as a picture."""


@_command(_measure_all)
def all_command(
    run: RunArgument = None,
    images: ImagesOption = None,
    target: TargetOption = None,
    reference: ReferenceOption = None,
    count: CountOption = 1000,
    features: FeaturesOption = "source",
    feature_weights: FeatureWeightsOption = None,
    source: SourceNameOption = None,
    net: NetOption = "vgg",
    trunk_weights: TrunkWeightsOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Every metric. A run keeps the result for `ant evaluate report` and `compare`."""
