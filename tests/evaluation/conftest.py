"""A run that has been measured, and two."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_pages import SCORES, made, measured, noise

from antcli.evaluation.report.comparison import Measured
from antcli.evaluation.stopping import write_scores
from antcli.runs import Run


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "sketches"
    noise(folder, [f"{i}.png" for i in range(10)], 24)
    return folder


@pytest.fixture
def run(tmp_path: Path, target: Path) -> Run:
    run = made(tmp_path / "run", target)
    write_scores(run.scores, SCORES)
    return run


@pytest.fixture
def two(run: Run) -> list[Measured]:
    """Two runs from one source, measured alike."""
    ways = (measured(run), measured(run, shift=0.7))
    return [
        Measured(name, "tiny, not adapted", way)
        for name, way in zip(("first", "second"), ways, strict=True)
    ]
