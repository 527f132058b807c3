"""What a benchmark's row costs is counted once, cut or not; and what its table says of it."""

import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from antcli.artifacts import load_tensors
from antcli.runs.run import Run
from antcli.training.adaptation import Preview

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="no benchmarks beside these tests")
FEW = {
    "training": {"steps": 4, "batch_size": 2},
    "source_examples": {"count": 3, "steps": 2},
    "ewc": {"draws": 5},
    "classifier": {"steps": 3, "batch_size": 4, "source_samples": 5, "sampling_steps": 2},
    "device": "cpu",
    "mixed_precision": "no",
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads a script of the benchmarks, whose names are no modules of the tests."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"benchmark_{name}", BENCHMARKS / f"{name}.py"
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # where its dataclasses look it up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def rows(script: Any, tiny_source: Path, tiny_target: Path, monkeypatch: Any) -> ModuleType:
    """What trains a row, on a tiny source and ten images."""
    module: ModuleType = script("rows")
    monkeypatch.setattr(module, "SOURCE", str(tiny_source))
    monkeypatch.setattr(module, "SHOTS", tiny_target.parent)
    return module


def costs_of(run: Run) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((run.folder / "costs.json").read_text())
    return found


# --- what it costs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "stages", "step"),
    [
        # Three samples of two steps, five gradients; a pass there and back for two images.
        ("ewc", (3 * 2 + 5 * 2, 0), (4, 0)),
        # Five samples of two steps; one more pass that nothing goes back through.
        ("ant", (5 * 2, None), (6, 4)),
    ],
)
def test_passes_are_counted_of_stages_and_steps(
    method: str,
    stages: tuple[int, int | None],
    step: tuple[int, int],
    rows: ModuleType,
    tmp_path: Path,
) -> None:
    said = rows.run_settings("colours", {**FEW, "method": method})
    run = rows.train(tmp_path / "run", said)
    assert run.finished
    assert list(run.checkpoints) == [1, 2, 3, 4]
    costs = costs_of(run)
    assert list(costs) == ["0", "1", "2", "3", "4"]
    assert costs["0"]["evaluations"] == stages[0]
    if stages[1] is not None:
        assert costs["0"]["of_classifiers"] == stages[1]
    for i in range(4):
        before, after = costs[str(i)], costs[str(i + 1)]
        assert after["evaluations"] - before["evaluations"] == step[0]
        assert after["of_classifiers"] - before["of_classifiers"] == step[1]
        assert after["seconds"] > before["seconds"]


@pytest.mark.parametrize("cut_at", [0, 2])
def test_a_row_that_was_cut_costs_what_a_whole_one_does(
    cut_at: int, rows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = rows.run_settings("colours", {**FEW, "method": "ewc"})
    whole, through = rows.train(tmp_path / "whole", said), rows.adapt

    def cut(*arguments: Any, **more: Any) -> Any:
        for record in through(*arguments, **more):
            yield record
            if isinstance(record, Preview) and record.step == cut_at:
                return

    monkeypatch.setattr(rows, "adapt", cut)
    assert not rows.train(tmp_path / "run", said).finished
    monkeypatch.setattr(rows, "adapt", through)
    run = rows.train(tmp_path / "run", said)
    found, expected = costs_of(run), costs_of(whole)
    for step in ("0", "2", "4"):
        for name in ("evaluations", "of_classifiers"):
            assert found[step][name] == expected[step][name]
    torch.testing.assert_close(
        load_tensors(run.weights), load_tensors(whole.weights), rtol=0, atol=0
    )
    monkeypatch.setattr(rows, "adapt", None)
    assert rows.train(run.folder, said).finished  # once more is nothing
    monkeypatch.setattr(rows, "adapt", through)
    rows.slim(run)
    assert list(rows.train(run.folder, said).checkpoints) == [1, 2, 3, 4]


# --- in which order, and what is told --------------------------------------------------------


def test_each_seed_begins_with_the_targets_that_change_a_face(script: Any) -> None:
    chosen = Namespace(
        targets=["sunglasses", "babies", "sketches"], methods=["finetune", "ant"], seeds=[0, 1]
    )
    found = list(script("methods").order(chosen))
    assert found[:2] == [("sunglasses", "source", 0), ("sunglasses", "oracle", 0)]
    assert found[6:12] == [
        ("sunglasses", "finetune", 0),
        ("babies", "finetune", 0),
        ("sunglasses", "ant", 0),
        ("babies", "ant", 0),
        ("sketches", "finetune", 0),
        ("sketches", "ant", 0),
    ]
    assert [seed for *_, seed in found[6:]] == [0] * 6 + [1] * 6


def look(way: float, evaluations: int) -> dict[str, float]:
    return {"way left": way, "distance": 100 * way, "diversity": 1 - way / 2} | {
        "evaluations": evaluations
    }


def row_of(method: str, target: str, seed: int, ways: dict[int, float], per_step: int) -> Any:
    """A row whose rule takes the first step, and whose last is the nearest."""
    steps = {str(step): look(way, step * per_step) for step, way in ways.items()}
    facts = {"method": method, "target": target, "seed": seed, "steps": steps}
    made = {"command": "c", "device": "cpu", "precision": "no", "threads": 1, "versions": {"a": 1}}
    chosen = {"rule": min(ways), "hindsight": max(ways), "cpu_seconds_of_row": 2.0}
    return {**facts, **chosen, **made, "parameters": 1234}


def test_the_table_has_each_step_that_counts(script: Any, tmp_path: Path) -> None:
    module = script("methods_table")
    rows = [row_of("finetune", "babies", s, {25: 0.8, 50: 0.5 + s / 10}, 20) for s in (0, 1)]
    rows.append(row_of("ant", "babies", 0, {25: 0.7, 50: 0.4}, 30))
    assert module.budget(rows) == 750
    assert module.within(rows[0], 750)["way left"] == 0.8
    assert module.within(rows[0], 1000)["way left"] == 0.5
    for row in rows:
        file = tmp_path / "methods" / f"babies-{row['method']}-{row['seed']}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(row))
    runs = tmp_path / "runs"
    (runs / "babies-ant-0").mkdir(parents=True)
    Image.new("RGB", (90, 30), "red").save(runs / "babies-ant-0" / "page.png")
    module.write_all(tmp_path, runs)
    lines = (tmp_path / "methods.md").read_text().splitlines()
    assert "way left within 750 evaluations" in lines[4]
    cells = {name: line.split(" | ") for line in lines if (name := line[2:].split(" ")[0])}
    heads = lines[4].split(" | ")
    plain = dict(zip(heads, cells["finetune"], strict=True))
    assert plain["way left"] == "80%"
    assert plain["best step"] == "50"
    assert plain["way left there"] == "55% (50% to 60%)"
    assert plain["way left within 750 evaluations |"] == "80% |"
    assert (
        dict(zip(heads, cells["ant"], strict=True))["way left within 750 evaluations |"] == "70% |"
    )
    assert json.loads((tmp_path / "methods.json").read_text())[0]["method"] == "ant"
    with Image.open(tmp_path / "methods.png") as figure:
        assert figure.width > 400
    with Image.open(tmp_path / "pages" / "methods-ant.png") as page:
        assert page.getpixel((45, page.height - 30)) == (255, 0, 0)
    assert not (tmp_path / "pages" / "methods-finetune.png").exists()


def test_rates_and_weights_are_multiples_of_those_that_there_are(script: Any) -> None:
    module = script("learning_rates")
    found = [(trial.name, trial.value) for trial in module.rates(["all", "bias"], [0.5, 1])]
    assert found[:2] == [("all", "3.5e-05"), ("all", "7e-05")]
    assert [name for name, _ in found] == ["all", "all", "bias", "bias"]
    (trial,) = module.weights(["ddpm-pa"], [0.1])
    assert trial.said == {
        "method": "ddpm-pa",
        "penalties": {"pairwise": 0.01, "high_frequency": 0.01, "details": 0.001},
    }


# --- several conditions ----------------------------------------------------------------------


def test_one_run_of_several_domains_beside_a_run_each(
    script: Any, tiny_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, asked = script("conditional"), []
    monkeypatch.setattr(module, "SOURCE", str(tiny_source))

    def drawn(source: Any, network: Any, count: int, label: torch.Tensor | None) -> None:
        asked.append(label if label is None else label.tolist())

    found = {"way left": 0.5, "diversity": 0.9, "copy rate": 0.0}
    monkeypatch.setattr(module, "drawn", drawn)
    monkeypatch.setattr(module, "of_source", lambda *_: None)
    monkeypatch.setattr(module, "measured", lambda *_: found)
    chosen = Namespace(runs=tmp_path, domains=("hats", "babies"), samples=3, steps=2, method="lora")
    rows = [r for kind in (module.JOINT, module.SEPARATE) for r in module.rows(chosen, 2, 0, kind)]
    # Folders come in their natural order.
    assert asked == [[[0, 1]] * 3, [[1, 0]] * 3, None, None]
    assert [row["domain"] for row in rows] == ["hats", "babies"] * 2
    assert rows[0]["megabytes"] == rows[1]["megabytes"] < rows[2]["megabytes"]
    lines = module.table(rows).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| 2 | one run | 50.0% | hats 50%, babies 50% | 0.90 | 0.00 |")
