"""Runs to export, of every kind of source."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapted_runs import adapted_run
from source_kinds import COLUMNS, TEXT_DIMENSION, write_kind

from antcli.runs.run import Run

MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tiny_source: Path, tiny_target: Path, tmp_path: Path) -> MakeRun:
    """A finished run of a kind of source, `pixels` or one of `KINDS`; of low-rank additions."""

    def make(kind: str = "pixels", method: str = "lora", **settings: Any) -> Run:
        source = tiny_source if kind == "pixels" else write_kind(kind, tmp_path / "private" / kind)
        asks = {
            "class-conditional": {"class_labels": torch.tensor([1])},
            "columns": {"class_labels": torch.randn(1, COLUMNS)},
            "text": {
                "encoder_hidden_states": torch.randn(1, 5, TEXT_DIMENSION),
                "nothing.encoder_hidden_states": torch.randn(1, 5, TEXT_DIMENSION),
            },
        }
        folder = tmp_path / "my-run"
        return adapted_run(folder, source, tiny_target, asks.get(kind), method=method, **settings)

    return make
