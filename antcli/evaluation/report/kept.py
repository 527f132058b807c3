"""The numbers that a run keeps of itself, as long as they are those of its weights."""

from __future__ import annotations

import json
from typing import Any

from antcli.runs import Run

NEEDED = {"rows", "left_out", "space", "images", "reference_images", "target_sha256"}
"""What a report reads; another version of the program may have kept less."""
NEEDED_OF_A_METRIC = {"space", "definition"}


def read_evaluation(run: Run) -> dict[str, Any] | None:
    """What `ant evaluate all` kept; None if it did not, or of weights that the run has no more."""
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
