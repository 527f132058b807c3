"""A run that is killed at any moment goes on to the weights that it would have come to."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from spread import adapt_into, cut_at, full_disk, spread

from antcli.artifacts import load_tensors
from antcli.runs.run import Run

KILLS = 5


@pytest.fixture(scope="module")
def settings(tiny_source: Path, tiny_target: Path) -> dict[str, Any]:
    return {
        "source": str(tiny_source),
        "target": str(tiny_target),
        "device": "cpu",
        "mixed_precision": "no",
        "training": {"steps": 6, "batch_size": 2},
        "counterparts": {"draws": 2, "steps": 1, "noise": 0.4},
        "classifier": {"steps": 2, "batch_size": 4, "source_samples": 5, "sampling_steps": 1},
        "preview": {"images": 1, "every": 1, "sampling_steps": 1, "keep": 2},
    }


@pytest.fixture(scope="module")
def whole(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, int]:
    """A run that nothing cut, and of how many moments it was."""
    run = Run(tmp_path_factory.mktemp("whole") / "run")
    moments = cut_at(None, run.folder, settings)
    assert moments is not None
    return run, moments


def check_same(found: Run, expected: Run) -> None:
    assert found.finished
    weights = [load_tensors(run.weights) for run in (found, expected)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    assert not list(found.folder.rglob("*.part"))
    files = [{p.relative_to(r.folder) for p in r.folder.rglob("*")} for r in (found, expected)]
    assert files[0] == files[1]


def test_a_run_that_is_killed_five_times_comes_to_the_same(
    settings: dict[str, Any], whole: tuple[Run, int], tmp_path: Path
) -> None:
    expected, moments = whole
    draw, runs, kills = random.Random(0), [Run(tmp_path / "0")], 0
    while kills < KILLS:
        if cut_at(draw.randint(1, moments // 2), runs[-1].folder, settings) is None:
            kills += 1
        else:  # it was done before that moment came
            runs.append(Run(tmp_path / str(len(runs))))
    cut_at(None, runs[-1].folder, settings)
    for run in runs:
        check_same(run, expected)


def test_a_disk_that_is_full_leaves_a_run_that_goes_on(
    settings: dict[str, Any], whole: tuple[Run, int], tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    (said,) = spread(1, full_disk, run.folder, settings, 3, 10_000)
    assert "AntError: cannot write" in said
    assert "File too large" in said
    assert run.state.exists()
    assert not list(run.folder.rglob("*.part"))
    assert spread(1, adapt_into, run.folder, settings) == [1]
    check_same(run, whole[0])
