"""A run that has been measured, and two."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path

import lpips
import pytest
import torch
from report_pages import SCORES, made, measured, noise
from torch import Tensor

from antcli.evaluation.lpips import LpipsFeatures
from antcli.evaluation.report.comparison import MeasuredRun
from antcli.evaluation.stopping import write_scores
from antcli.runs.run import Run


class ExactFeatures(LpipsFeatures):
    """LPIPS in float64: what is computed of its vectors does not depend on a machine's rounding."""

    def __init__(self, metric: lpips.LPIPS) -> None:
        super().__init__(copy.deepcopy(metric).double(), "random")

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        return super().forward(x.double(), out)


@pytest.fixture(scope="module")
def metric() -> lpips.LPIPS:
    """LPIPS with a trunk of random weights."""
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)


@pytest.fixture(scope="module")
def features(metric: lpips.LPIPS) -> LpipsFeatures:
    """The same as vectors of float32, as it is used."""
    return LpipsFeatures(copy.deepcopy(metric), "random")


@pytest.fixture(scope="module")
def exact_features(metric: lpips.LPIPS) -> LpipsFeatures:
    return ExactFeatures(metric)


@pytest.fixture(params=["as it comes", "one thread", "without oneDNN"])
def machine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Other kernels, which round otherwise."""
    threads = torch.get_num_threads()
    if request.param == "one thread":
        torch.set_num_threads(1)
    with torch.backends.mkldnn.flags(enabled=request.param != "without oneDNN"):
        yield
    torch.set_num_threads(threads)


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
def two(run: Run) -> list[MeasuredRun]:
    """Two runs from one source, measured alike."""
    ways = (measured(run), measured(run, shift=0.7))
    return [
        MeasuredRun(name, "tiny, not adapted", way)
        for name, way in zip(("first", "second"), ways, strict=True)
    ]
