"""Measuring a run beside its source, or a folder of images: from settings to numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from antcli.artifacts import file_hash, write_json
from antcli.errors import AntError
from antcli.evaluation.listener import SILENT, Listener
from antcli.evaluation.lpips import check_trunk
from antcli.evaluation.manifold import NEIGHBOUR
from antcli.evaluation.measuring import METRICS, Metric, Row, Tools, measure
from antcli.evaluation.pairs import write_pairs
from antcli.evaluation.preparing import EvaluationSettings, by_condition, prepare
from antcli.runs.latest import find_run


def evaluate_run(
    run: Path | str | None = None, *, listener: Listener = SILENT, **options: Any
) -> dict[str, Any]:
    """The metrics of a run and of its source, not adapted; or those of a folder of images.

    `run` is its folder, None for the latest; `options` are the fields of `EvaluationSettings`.
    With all metrics, those that cannot be measured here are left out and the run keeps the result
    as `evaluation.json`: numbers of a machine without a network are better than none, so without
    LPIPS's trunk copying is told in the feature space. The result is plain values for JSON;
    `rows` holds a name and the `metrics` of each set of images; of a run of several conditions,
    `conditions` holds a name and such `rows` of each, beside its own images.

    Raises `AntError` before anything is drawn where a file, an image or a setting is wrong.
    """
    settings = EvaluationSettings(**options)
    if settings.images is not None and run is not None:
        raise AntError("both a run and `images` are given", "give one of them", exit_code=2)
    found = find_run(None if run is None else Path(run)) if settings.images is None else None
    complete = settings.everything
    settings, left_out = _without_missing_trunk(settings, listener)
    rows, tools = prepare(found, settings, listener)
    measured = _measured(settings, rows, tools, left_out)
    evaluation = {**_basis(rows, tools), "left_out": left_out, "rows": measured}
    each = by_condition(found, settings, rows, tools) if found else ()
    alone = [{"name": k, "rows": _measured(settings, own, of, {})} for k, own, of in each]
    if alone:
        evaluation["conditions"] = alone
    pairs = settings.pairs or (found and found.nearest_pairs)
    if pairs and "memorization" in settings.metrics:
        nearest = measured[0]["metrics"]["memorization"]["pairs"]
        write_pairs(pairs, rows[0].images, tools.target, nearest)
    if found and complete:
        evaluation["weights_sha256"] = found.weights_sha256
        write_json(found.evaluation, evaluation)
    return evaluation


def _measured(
    settings: EvaluationSettings, rows: Sequence[Row], tools: Tools, left_out: dict[str, str]
) -> list[dict[str, Any]]:
    """The metrics of each row; what cannot be measured goes to `left_out`, with the reason."""
    measured = []
    for row in rows:
        possible, why_not = _possible(settings, row, tools)
        for metric, why in why_not.items():
            tools.listener.note(f"left out: {metric}: {why}")
        left_out |= why_not
        measured.append({"name": row.name, "metrics": finite(measure(row, possible, tools))})
    return measured


def finite(value: Any) -> Any:
    """Plain values with None for each NaN and infinity, which JSON has no words for."""
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _basis(rows: list[Row], tools: Tools) -> dict[str, Any]:
    """What the numbers are made of."""
    known = tools.reference
    return {
        "space": tools.space and tools.space.label,
        "reference_images": known and known.count,
        "reference_sha256": known and known.images_sha256,
        "target_images": len(tools.target),
        "target_sha256": [file_hash(path) for path in tools.target.paths],
        "images": len(rows[0].images),
        "seed": tools.seed,
    }


def _without_missing_trunk(
    settings: EvaluationSettings, listener: Listener
) -> tuple[EvaluationSettings, dict[str, str]]:
    # A file that was named has to work.
    if not settings.everything or settings.trunk_weights is not None:
        return settings, {}
    try:
        check_trunk(settings.net, on_progress=listener.downloaded)
    except AntError as error:
        listener.note(f"left out: intra-lpips: {error.message}")
        listener.note(f"hint: {error.hint}")
        rest = tuple(metric for metric in METRICS if metric != "intra-lpips")
        return replace(settings, metrics=rest, copies_by="features"), {"intra-lpips": error.message}
    return settings, {}


def _possible(
    settings: EvaluationSettings, row: Row, tools: Tools
) -> tuple[list[Metric], dict[str, str]]:
    """The metrics for which there are images enough; one that was asked for alone has to be."""
    metrics: list[Metric] = [*settings.metrics]
    if "prdc" not in metrics or len(metrics) == 1 or tools.reference is None:
        return metrics, {}
    fewest = min(len(row.images), tools.reference.count)
    if fewest > NEIGHBOUR:
        return metrics, {}
    metrics.remove("prdc")
    return metrics, {"prdc": f"{fewest} images have no {NEIGHBOUR}th neighbours"}
