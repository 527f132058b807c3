"""Any number of processes must give the weights that one gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from spread import adapt_into, divided, slow_classifier, spread

from antcli.artifacts import load_tensors
from antcli.runs.run import Run

SETTINGS: dict[str, Any] = {
    "device": "cpu",
    "mixed_precision": "no",
    "training": {"steps": 4, "batch_size": 5},
    "counterparts": {"draws": 2, "steps": 2, "noise": 0.4},
    "noise": {"omega": 0.2},
    "classifier": {"steps": 3, "batch_size": 6, "source_samples": 5, "sampling_steps": 2},
    "preview": {"images": 1, "sampling_steps": 2},
}


@pytest.fixture
def settings(tiny_source: Path, tiny_target: Path) -> dict[str, Any]:
    return {**SETTINGS, "source": str(tiny_source), "target": str(tiny_target)}


def check_same(found: Run, expected: Run, near: float = 1e-5) -> None:
    assert found.finished
    assert len(found.log.read_text().splitlines()) == SETTINGS["training"]["steps"]
    torch.testing.assert_close(
        load_tensors(found.weights), load_tensors(expected.weights), rtol=0, atol=near
    )
    assert found.classifier.exists() == expected.classifier.exists()
    if not found.classifier.exists():
        return
    # From nothing, by steps of 1e-3: Adam makes 1e-5 of the rounding of a gradient near its 1e-8.
    torch.testing.assert_close(
        load_tensors(found.classifier), load_tensors(expected.classifier), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("method", "micro", "gradient", "count"),
    [("ant", 1, "full", 2), ("bridge", 2, "residual", 2), ("bridge", 0, "residual", 4)],
)
def test_many_processes_give_the_weights_of_one(
    method: str,
    micro: int,
    gradient: str,
    count: int,
    settings: dict[str, Any],
    tmp_path: Path,
) -> None:
    """Of 5 images, two processes take 3 and 2, four take 2, 1, 1 and 1; the classifier shares 6."""
    noise = {**SETTINGS["noise"], "gradient": gradient}
    training = {**SETTINGS["training"], "micro_batch": micro}
    settings = {**settings, "method": method, "noise": noise, "training": training}
    one, many = Run(tmp_path / "one"), Run(tmp_path / "many")
    assert spread(1, adapt_into, one.folder, settings) == [1]
    assert spread(count, adapt_into, many.folder, settings) == [count] * count
    # What begins at zero: the last layer of an adaptor, and B of a low-rank addition.
    last = ".up." if method == "ant" else ".1.weight"
    moved = load_tensors(one.weights)
    assert any(w.abs().max() > 1e-4 for name, w in moved.items() if last in name)
    # The first gradients of A are next to nothing, as B is: rounding is a share of them, and Adam
    # divides by them.
    check_same(many, one, 1e-5 if method == "ant" else 1e-4)


def test_another_number_of_processes_goes_on_to_the_same_weights(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**settings, "method": "ant"}
    whole, cut = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    assert spread(1, adapt_into, whole.folder, settings) == [1]
    assert spread(3, adapt_into, cut.folder, settings, 2) == [3, 3, 3]
    assert not cut.finished
    assert cut.facts()["step"] == 2
    assert spread(2, adapt_into, cut.folder, settings) == [2, 2]
    check_same(cut, whole)


@pytest.mark.parametrize("count", [1, 7, 8])
def test_a_work_is_done_once_and_all_have_the_whole(count: int) -> None:
    told = spread(2, divided, count, 2)
    assert sorted(number for asked, _ in told for number in asked) == [*range(count)]
    assert count == 1 or all(asked for asked, _ in told)
    for _, whole in told:
        assert whole == [[number, number**2.0] for number in range(count)]


def test_a_long_wait_is_no_time_out(settings: dict[str, Any], tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert spread(2, slow_classifier, run.folder, {**settings, "method": "ant"}, 6.0) == [2, 2]
    assert run.finished
