"""Kill `ant adapt` at random moments; see whether it comes to the weights of a run left alone.

    python benchmarks/kills.py benchmarks/results/kills.json

The real command, a process each time, ended by SIGKILL, SIGTERM or SIGINT after a random share of
the seconds that a whole run takes: while it starts, draws, trains its classifier, steps, writes.
When a run is finished another one begins, until as many have been killed as were asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from antcli.artifacts import load_tensors
from antcli.runs.run import Run

ROOT = Path(__file__).parents[1]
SETTINGS = """
device = "cpu"
mixed_precision = "no"
[training]
steps = 24
batch_size = 4
[counterparts]
draws = 2
steps = 4
[classifier]
steps = 12
batch_size = 16
source_samples = 16
sampling_steps = 4
[stopping]
auto = true
[preview]
images = 2
every = 2
sampling_steps = 4
keep = 3
"""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def start(folder: Path, settings: Path) -> subprocess.Popen[bytes]:
    """The same command, each time."""
    target = ROOT / "examples" / "10shots" / "sunglasses"
    command = [sys.executable, "-m", "antcli", "adapt", "--source", "avatars", "--target", target]
    return subprocess.Popen(
        [*map(str, command), "--config", str(settings), "--out", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def same(run: Run, expected: Run) -> bool:
    """Whether the weights are those of the other run, bit for bit."""
    found, other = load_tensors(run.weights), load_tensors(expected.weights)
    return found.keys() == other.keys() and all(torch.equal(found[n], w) for n, w in other.items())


def main(out: Path, kills: int, seed: int) -> None:
    """Kill so many times, and write what came of it."""
    draw, done = random.Random(seed), []
    finished: list[bool] = []
    with tempfile.TemporaryDirectory() as place:
        settings = Path(place) / "settings.toml"
        settings.write_text(SETTINGS)
        whole, run = Run(Path(place) / "whole"), Run(Path(place) / "run")
        began = time.monotonic()
        assert start(whole.folder, settings).wait() == 0
        seconds = time.monotonic() - began
        while len(done) < kills:
            process, wait = start(run.folder, settings), draw.uniform(0, seconds)
            number = draw.choice(SIGNALS)
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                process.wait()
                done.append(killed(run, number, wait))
                print(len(done), done[-1], flush=True)
                continue
            assert process.returncode == 0, process.stderr and process.stderr.read()
            finished.append(same(run, whole))
            shutil.rmtree(run.folder)
        assert start(run.folder, settings).wait() == 0
        finished.append(same(run, whole))
        result: dict[str, Any] = {
            "seconds of a whole run": round(seconds, 1),
            "kills": done,
            "runs that were killed and finished": len(finished),
            "of these with the same weights": sum(finished),
            "seed": seed,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
        }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(len(done), "kills;", sum(finished), "of", len(finished), "runs have the same weights")


def killed(run: Run, number: signal.Signals, wait: float) -> dict[str, Any]:
    """What was there when it was killed."""
    log = run.log.read_text().count("\n") if run.log.exists() else 0
    return {
        "signal": number.name,
        "seconds": round(wait, 1),
        "classifier": run.classifier.exists(),
        "steps": log,
        "half-written": len(list(run.folder.rglob("*.part"))),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    main(asked.out, asked.kills, asked.seed)
