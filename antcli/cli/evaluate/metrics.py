"""`ant evaluate METRIC`: one metric, or all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from antcli.cli.console import json_result, result, say
from antcli.cli.evaluate.asked import Asked
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
from antcli.cli.evaluate.show import show
from antcli.cli.options import DeviceOption, JsonOption, RunArgument, SeedOption

if TYPE_CHECKING:
    from antcli.evaluation.measuring import Metric


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
    asked = Asked(
        run,
        images,
        target,
        count=count,
        net=net,
        trunk_weights=trunk_weights,
        protocol=protocol,
        least=1,
        seed=seed,
        device=device,
    )
    _measure_one("intra-lpips", asked, as_json)


def fid_command(
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
    """Frechet distance to a reference: lower is nearer. Falls with the number of images."""
    asked = Asked(run, images, target, reference, count, features, feature_weights, source)
    asked = replace(asked, seed=seed, device=device, needs_target=False)
    _measure_one("fid", asked, as_json)


def kid_command(
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
    """Kernel distance to a reference, unbiased, with its interval: lower is nearer."""
    asked = Asked(run, images, target, reference, count, features, feature_weights, source)
    asked = replace(asked, seed=seed, device=device, needs_target=False)
    _measure_one("kid", asked, as_json)


def prdc_command(
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
    """Precision, recall, density and coverage against a reference: higher is better."""
    from antcli.evaluation.manifold import NEIGHBOUR

    asked = Asked(run, images, target, reference, count, features, feature_weights, source)
    asked = replace(asked, seed=seed, device=device, needs_target=False, least=NEIGHBOUR + 1)
    _measure_one("prdc", asked, as_json)


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
        typer.Option(help="The page of the nearest pairs. [default: RUN/nearest-pairs.png]"),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Whether samples copy the target's images, and the twenty nearest pairs as a picture."""
    asked = Asked(run, images, target, count=count, source=source, seed=seed, device=device)
    if features == "lpips":
        asked = replace(asked, net=net, trunk_weights=trunk_weights)
    else:
        asked = replace(asked, features=features, feature_weights=feature_weights)
    place = pairs or (asked.found_run().nearest_pairs if images is None else None)
    _measure_one("memorization", asked, as_json, place)


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
    from antcli.cli.evaluate.whole import evaluate_all

    asked = Asked(
        *(run, images, target, reference, count, features, feature_weights, source),
        net=net,
        trunk_weights=trunk_weights,
        seed=seed,
        device=device,
    )
    evaluation = evaluate_all(asked)
    if as_json:
        json_result(evaluation)
    else:
        for row in evaluation["rows"]:
            for metric, found in row["metrics"].items():
                show(metric, row["name"], found)
    if images is None:
        kept = asked.found_run()
        say(f"kept in {kept.evaluation}; next: ant evaluate report {kept.folder}")


def _measure_one(metric: Metric, asked: Asked, as_json: bool, pairs: Path | None = None) -> None:
    from antcli.evaluation.measuring import measure

    rows, tools = asked.prepare()
    found = [measure(row, [metric], tools)[metric] for row in rows]
    if pairs is not None:
        from antcli.evaluation.pairs import write_pairs

        write_pairs(pairs, rows[0].images, tools.target, found[0]["pairs"])
    if as_json:
        # The run's own result, and beside it that of its source.
        more: dict[str, Any] = {"source": found[1]} if len(found) > 1 else {}
        json_result({**found[0], **more})
        return
    for row, result_of_row in zip(rows, found, strict=True):
        show(metric, row.name, result_of_row)
    if pairs is not None:
        result(f"nearest pairs: {pairs}")
