"""What was measured: the scores over the steps, every metric, the nearest pairs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from antcli.evaluation.curve import curve_svg
from antcli.evaluation.measuring import METRICS, Metric
from antcli.evaluation.pairs import read_pairs
from antcli.evaluation.report.numbers import (
    KINDS,
    Found,
    cautions_of,
    defined,
    plain,
    remark,
    short,
    texts,
)
from antcli.evaluation.report.page import bullets, code, figure, gallery, paragraph, table
from antcli.evaluation.report.pictures import drawing, embedded
from antcli.evaluation.stopping import Score, choose
from antcli.runs import Run


def steps_section(run: Run, scores: Sequence[Score]) -> str:
    """The curve and its numbers, or how to get them."""
    if not scores:
        if not run.checkpoints:
            return paragraph("This run is too short to have kept a checkpoint on its way.")
        return paragraph("The checkpoints of this run have not been scored:") + code(
            f"ant evaluate checkpoints {shlex.quote(str(run.folder))}"
        )
    choice = choose(scores)
    told = paragraph(
        "How the samples do at each kept step, by what needs no held-out data. Step 0 is the "
        f"source, not adapted. The step to take is {choice.step}: {choice.why}."
    )
    alt = f"Three curves over the steps; step {choice.step} is marked."
    head = ("step", "distance", "diversity", "copied")
    rows = [
        (
            _step_name(run, score),
            f"{score.distance:.3f}",
            f"{score.diversity:.2f}",
            f"{score.copied:.2f}",
        )
        for score in scores
    ]
    picture = figure(drawing(curve_svg(scores, choice), alt), "The dashed line: the step to take.")
    return told + gallery([picture], "curve") + table("The same in numbers", head, rows)


def metrics_section(evaluation: Mapping[str, Any]) -> str:
    """Every metric for every row, with what it means, and what was left out."""
    told = paragraph(
        f"Of {evaluation['images']} samples from the same noise for both rows; the reference "
        f"holds {evaluation['reference_images']} images. The source, not adapted, is measured "
        "beside the adapted model because a number means little alone. An arrow up: higher is "
        "better. An arrow down: lower is better."
    )
    left_out = bullets(
        (
            f"{KINDS[metric].title}: left out, {why}"
            for metric, why in evaluation["left_out"].items()
        ),
        "cautions",
    )
    measured = [metric for metric in METRICS if metric in evaluation["rows"][0]["metrics"]]
    return told + left_out + "\n".join(_metric(metric, evaluation) for metric in measured)


def pairs_section(run: Run, evaluation: Mapping[str, Any]) -> str:
    """The samples nearest to a target image, each beside it."""
    measured = evaluation["rows"][0]["metrics"]["memorization"]
    pairs = read_pairs(run.nearest_pairs)
    if [pair for _, pair in pairs] != [*measured["pairs"]]:
        return paragraph(
            "The page of nearest pairs is gone, or another measurement has drawn it anew:"
        ) + code(f"ant evaluate all {shlex.quote(str(run.folder))}")
    threshold = measured["threshold"]
    told = paragraph(
        "The samples that are nearest to a target image, the nearest first: the sample on the "
        "left, that target image on the right. Copies would be here."
    )
    return told + gallery(
        (
            figure(embedded(picture, f"pair {place}", picture.width), _pair(place, pair, threshold))
            for place, (picture, pair) in enumerate(pairs, 1)
        ),
        "pairs",
    )


def metric_table(metric: Metric, caption: str, rows: Sequence[tuple[str, Found]]) -> str:
    """The results of rows that compare with each other, and all that it takes to read them."""
    kind = KINDS[metric]
    remarks = dict.fromkeys(remark(metric, name, found) for name, found in rows)
    parts = [
        table(
            f"{kind.title} in {caption}",
            ["", *(number.head for number in kind.numbers)],
            [[name, *texts(metric, found)] for name, found in rows],
        ),
        *(paragraph(line) for line in remarks if line),
        bullets(cautions_of(found for _, found in rows), "cautions"),
        paragraph(f"Definition: {defined(rows[0][1])}", "definition"),
    ]
    return "\n".join(parts)


def _pair(place: int, pair: Mapping[str, Any], threshold: float) -> str:
    copied = ", counts as copied" if pair["distance"] < threshold else ""
    return f"{place}. seed {pair['sample']}, distance {plain(pair['distance'])}{copied}"


def _step_name(run: Run, score: Score) -> str:
    if score.step == 0:
        return "0 (source)"
    return f"{score.step} (taken)" if score.step == run.taken_step else str(score.step)


def _metric(metric: Metric, evaluation: Mapping[str, Any]) -> str:
    kind = KINDS[metric]
    rows = [(row["name"], row["metrics"][metric]) for row in evaluation["rows"]]
    made = metric_table(metric, short(rows[0][1]["space"]), rows)
    return f"<article>\n<h3>{kind.title}</h3>\n{paragraph(kind.meaning)}\n{made}\n</article>"
