"""`ant adapt` in several processes: who speaks, and what is left when one of them ends."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image
from spread import spread, type_in

from antcli.runs.run import Run


@pytest.fixture
def command(tiny_source: Path, tiny_target: Path, quick: Path, tmp_path: Path) -> list[str]:
    """Of `ant`, to be typed in several processes."""
    options = {"source": tiny_source, "target": tiny_target, "out": tmp_path / "run"}
    options |= {"config": quick, "device": "cpu", "mixed-precision": "no", "method": "adaptor"}
    return ["adapt", *(f"--{name}={value}" for name, value in options.items())]


def errors(told: list[tuple[object, str]]) -> list[str]:
    """All that ranks have complained of."""
    return [line for _, text in told for line in text.splitlines() if line.startswith("error")]


def test_an_error_of_one_process_is_told_once_with_its_rank(command: list[str]) -> None:
    told = spread(2, type_in, command, 1)
    assert [code for code, _ in told] == [1, 1]
    assert errors(told) == ["error on rank 1: ZeroDivisionError: of this process alone"]


def test_an_error_of_all_processes_is_told_once(command: list[str]) -> None:
    told = spread(2, type_in, [*command, "--learning-rate", "1e30"])
    assert [code for code, _ in told] == [1, 1]
    assert len(errors(told)) == 1
    assert "is not a finite number" in errors(told)[0]


def test_a_process_that_is_killed_takes_the_others_with_it_and_leaves_a_state(
    command: list[str], tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    typed = [sys.executable, "-m", "antcli", *command, "--num-processes=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = subprocess.Popen(
        [*typed, "--steps", "2000"], env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not run.state.exists():
        assert time.monotonic() < deadline and launcher.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(launcher.pid).children()
    assert sorted(worker.environ()["RANK"] for worker in workers) == ["0", "1"]
    next(worker for worker in workers if worker.environ()["RANK"] == "1").kill()
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 137
    assert "the process of rank 1 was ended by SIGKILL" in err
    assert "Traceback" not in err
    assert not any(worker.is_running() for worker in workers)
    assert run.state.exists()
    assert not run.finished


def test_images_are_drawn_in_shares_and_are_the_same(
    ant: Callable, run: Path, tmp_path: Path
) -> None:
    def drawn(name: str) -> list[str]:
        options = {"out": tmp_path / name, "device": "cpu", "steps": 2}
        return ["sample", str(run), "-n", "5", *(f"--{k}={v}" for k, v in options.items())]

    told = spread(2, type_in, drawn("many"))
    assert [code for code, _ in told] == [0, 0]
    assert told[1][1] == ""
    assert ant(*drawn("one")).code == 0
    for seed in range(5):
        images = [Image.open(tmp_path / name / f"{seed:06d}.png") for name in ("one", "many")]
        assert images[0].tobytes() == images[1].tobytes()
    assert (tmp_path / "many-grid.png").exists()


def test_images_are_measured_in_shares_and_the_numbers_are_the_same(
    ant: Callable, run: Path, random_trunk: Path, tmp_path: Path
) -> None:
    def measured(folder: Path) -> list[str]:
        trunk = ["--net", "squeeze", "--trunk-weights", str(random_trunk)]
        return ["evaluate", "all", str(folder), "-n", "45", *trunk, "--device", "cpu"]

    other = Path(shutil.copytree(run, tmp_path / "other"))  # its images say that they are its own
    assert ant(*measured(run)).code == 0
    told = spread(2, type_in, measured(other))
    assert [code for code, _ in told] == [0, 0], told
    one, many = (json.loads(Run(folder).evaluation.read_text()) for folder in (run, other))
    for rows in zip(one["rows"], many["rows"], strict=True):
        kid, intra, copies = (
            [row["metrics"][metric] for row in rows]
            for metric in ("kid", "intra-lpips", "memorization")
        )
        assert kid[0] == kid[1]
        assert copies[0] == copies[1]
        assert [c["size"] for c in intra[0]["clusters"]] == [
            c["size"] for c in intra[1]["clusters"]
        ]
        # Of a cluster the sums of two processes are added, in float64.
        assert intra[0]["value"] == pytest.approx(intra[1]["value"], rel=1e-9)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--num-processes", "5"], "5 processes cannot share a batch of 4"),
        (["--num-processes", "2", "--penalty", "pairwise=1"], "needs whole batches"),
    ],
)
def test_too_many_processes_are_refused_before_any_is_started(
    adapt: Callable, tmp_path: Path, more: list[str], says: str
) -> None:
    done = adapt(*more)
    assert done.code == 2
    assert says in done.err
    assert not (tmp_path / "run").exists()
