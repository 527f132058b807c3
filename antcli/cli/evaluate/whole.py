"""Every metric of a run at once, kept in the run's folder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from antcli.cli.console import say
from antcli.cli.evaluate.asked import Asked
from antcli.errors import AntError

if TYPE_CHECKING:
    from antcli.evaluation.measuring import Metric, Row, Tools


def evaluate_all(asked: Asked) -> dict[str, Any]:
    """Measure everything that can be measured here; a run keeps it as `evaluation.json`.

    Without LPIPS's trunk, Intra-LPIPS is left out, said so, and copying is told in the feature
    space: numbers of a machine without a network are better than none.
    """
    from antcli.artifacts import file_hash, write_json
    from antcli.evaluation.measuring import METRICS, measure
    from antcli.evaluation.pairs import write_pairs

    asked, left_out = _without_missing_trunk(asked)
    rows, tools = asked.prepare()
    metrics: list[Metric] = [metric for metric in METRICS if metric not in left_out]
    measured: list[dict[str, Any]] = []
    for row in rows:
        possible, why_not = _possible(metrics, row, tools)
        for metric, why in why_not.items():
            say(f"left out: {metric}: {why}")
        left_out |= why_not
        measured.append({"name": row.name, "metrics": measure(row, possible, tools)})
    assert tools.space is not None and tools.reference is not None
    evaluation: dict[str, Any] = {
        "space": tools.space.label,
        "reference_images": tools.reference.count,
        "reference_sha256": tools.reference.images_sha256,
        "target_images": len(tools.target),
        "target_sha256": [file_hash(path) for path in tools.target.paths],
        "images": len(rows[0].images),
        "seed": asked.seed,
        "left_out": left_out,
        "rows": measured,
    }
    if asked.images is None:
        run = asked.found_run()
        evaluation["weights_sha256"] = run.weights_sha256
        pairs = measured[0]["metrics"]["memorization"]["pairs"]
        write_pairs(run.nearest_pairs, rows[0].images, tools.target, pairs)
        write_json(run.evaluation, evaluation)
    return evaluation


def _without_missing_trunk(asked: Asked) -> tuple[Asked, dict[str, str]]:
    from antcli.evaluation.lpips import check_trunk

    assert asked.net is not None
    if asked.trunk_weights is not None:  # a file that was named has to work
        return asked, {}
    try:
        check_trunk(asked.net)
    except AntError as error:
        say(f"left out: intra-lpips: {error.message}")
        say(f"hint: {error.hint}")
        return replace(asked, net=None), {"intra-lpips": error.message}
    return asked, {}


def _possible(metrics: list[Metric], row: Row, tools: Tools) -> tuple[list[Metric], dict[str, str]]:
    """The metrics for which there are images enough."""
    from antcli.evaluation.manifold import NEIGHBOUR

    assert tools.reference is not None
    fewest = min(len(row.images), tools.reference.count)
    if "prdc" in metrics and fewest <= NEIGHBOUR:
        why = f"{fewest} images have no {NEIGHBOUR}th neighbours"
        return [metric for metric in metrics if metric != "prdc"], {"prdc": why}
    return metrics, {}
