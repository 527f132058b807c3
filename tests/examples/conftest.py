"""What the tests of examples share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conditional_tasks import Estimate, Results

Found = dict[int, dict[str, Estimate]]


@pytest.fixture
def run_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[ModuleType, Mapping[str, Any]], Found]:
    """Runs an example of conditional transfer with four replicates and smaller settings, its figure
    into tmp_path: the results by the number of target samples.
    """

    def run(example: ModuleType, settings: Mapping[str, Any]) -> Found:
        for name, value in {"REPLICATES": 4, **settings}.items():
            monkeypatch.setattr(example, name, value)
        kept: Found = {}
        report = example.report

        def keeping(results: Results, *more: Any) -> None:
            kept.update(results)
            report(results, *more)

        monkeypatch.setattr(example, "report", keeping)
        monkeypatch.setattr("sys.argv", [example.__name__, "--out", str(tmp_path)])
        example.main()
        return kept

    return run
