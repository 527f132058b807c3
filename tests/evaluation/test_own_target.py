"""The images that a run was adapted to: where they were, or where they are said to be."""

import shutil
from pathlib import Path

import pytest
from adapted_runs import adapted_run
from PIL import Image

from antcli.errors import AntError
from antcli.evaluation.own_target import holds_own, own_target
from antcli.runs.run import Run


@pytest.fixture
def target(tiny_target: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_target, tmp_path / "target"))


@pytest.fixture
def run(tiny_source: Path, target: Path, tmp_path: Path) -> Run:
    return adapted_run(tmp_path / "run", tiny_source, target)


def test_they_are_where_they_were(run: Run, target: Path) -> None:
    assert own_target(run) == target
    assert holds_own(run, target)


def test_what_is_named_is_taken_whatever_it_holds(run: Run, tmp_path: Path) -> None:
    assert own_target(run, tmp_path / "other") == tmp_path / "other"


def test_images_that_are_gone(run: Run, target: Path, tmp_path: Path) -> None:
    target.rename(tmp_path / "moved")
    with pytest.raises(AntError, match=r"not in .*target any more") as raised:
        own_target(run)
    assert "`target`" in raised.value.hint
    assert holds_own(run, own_target(run, tmp_path / "moved"))


def test_other_images_in_their_place(run: Run, target: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(target / "another.png")
    with pytest.raises(AntError, match="holds other images by now"):
        own_target(run)
    (target / "another.png").unlink()
    (target / "0.png").rename(target / "zero.png")  # a name is no part of an image
    assert own_target(run) == target


def test_the_same_images_under_other_conditions(
    tiny_source: Path, tiny_conditions: Path, tmp_path: Path
) -> None:
    target = Path(shutil.copytree(tiny_conditions, tmp_path / "both"))
    run = adapted_run(tmp_path / "run", tiny_source, target)
    assert own_target(run) == target
    one = next((target / "hats").iterdir())
    one.rename(target / "specs" / f"moved-{one.name}")
    with pytest.raises(AntError, match="other images"):
        own_target(run)
