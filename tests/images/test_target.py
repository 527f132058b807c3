"""A target with conditions, read rightly; and what is wrong with it, in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from antcli.errors import AntError
from antcli.images.conditions import Named, Numbered
from antcli.images.target import check_target, read_target

Damage = Callable[[Path], object]


@pytest.fixture
def folders(tiny_conditions: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_conditions, tmp_path / "both"))


@pytest.fixture
def table(tiny_target: Path, tmp_path: Path) -> Path:
    """Ten images with a table; in it they stand the other way round."""
    folder = Path(shutil.copytree(tiny_target, tmp_path / "ages"))
    lines = [f"{i}.png, {i * 2}, {i % 3}" for i in reversed(range(10))]
    (folder / "conditions.csv").write_text("\n".join(["file,age,angle", *lines]) + "\n")
    return folder


def test_folders_are_conditions_and_their_images_one_target(folders: Path) -> None:
    (folders / ".thumbnails").mkdir()
    (folders / "hats" / "notes.txt").write_text("mine")
    read, (paths, conditions) = read_target(folders, 16), check_target(folders)
    assert read.conditions == conditions == Named(("hats", "specs"), (0,) * 4 + (1,) * 6)
    assert read.paths == paths
    assert len(read.images) == len(read.hashes) == 10
    assert [path.parent.name for path in paths] == ["hats"] * 4 + ["specs"] * 6
    assert read.notes == ("hats: 1 other file passed over: notes.txt",)
    alone = read_target(folders / "specs", 16)
    assert alone.conditions is None
    assert (alone.images == read.images[4:]).all()


def test_runs_that_lie_in_a_folder_are_none_of_its_conditions(
    folders: Path, tiny_target: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(tiny_target, tmp_path / "alone"))
    for folder in (folders, alone):
        before = check_target(folder)
        for run in (folder / "my-run", folder / "runs" / "avatars-alone-bridge"):
            (run / "samples").mkdir(parents=True)
            (run / "run.json").write_text("{}")
            for place in (run, run / "samples", run.parent):
                shutil.copy(tiny_target / "0.png", place / "preview.png")
        (folder / "preview.png").unlink()  # of the first run's parent
        assert check_target(folder) == before


def test_a_table_has_numbers_for_each_image(table: Path) -> None:
    read, (_, conditions) = read_target(table, 16), check_target(table)
    assert isinstance(read.conditions, Numbered)
    assert read.conditions == conditions
    assert read.conditions.columns == ("age", "angle")
    assert read.conditions.rows[:4] == ((0, 0), (2, 1), (4, 2), (6, 0))
    assert read.notes == ()


def test_one_folder_is_no_choice_of_conditions(folders: Path) -> None:
    shutil.rmtree(folders / "hats")
    error = refusal(folders)
    assert "there are no images in" in error.message
    assert "specs holds 6 images: give that folder" in error.hint


def refusal(folder: Path) -> AntError:
    """The same whether images are read or only looked at."""
    with pytest.raises(AntError) as read:
        read_target(folder, 16)
    with pytest.raises(AntError) as looked:
        check_target(folder)
    assert str(read.value) == str(looked.value)
    assert "\n" not in read.value.message
    return read.value


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: shutil.copyfile(f / "hats" / "0.png", f / "0.png"), "has images of its own"),
        (lambda f: (f / "scarves").mkdir(), "condition scarves has no images"),
        (lambda f: (f / "hats").rename(f / "hats=1"), "'hats=1' is no name for a condition"),
        (lambda f: (f / "conditions.csv").touch(), "a folder for each condition"),
    ],
)
def test_what_is_wrong_with_folders_is_told(folders: Path, damage: Damage, says: str) -> None:
    damage(folders)
    error = refusal(folders)
    assert says in error.message
    assert error.hint
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("3.png, 6, 0\n", "", "lacks 3.png"),
        ("3.png", "33.png", "lists 33.png but there is no such image"),
        ("3.png", "4.png", "lists 4.png twice"),
        ("3.png, 6, 0", "3.png, old, 0", "something other than numbers for 3.png"),
        ("3.png, 6, 0", "3.png, nan, 0", "something other than numbers for 3.png"),
        ("3.png, 6, 0", "3.png, 6", "something other than numbers for 3.png"),
        ("3.png, 6, 0", "3.png, 6,5, 0", "more columns for 3.png"),
        ("file,age,angle", "file,age,age", "names age twice"),
        ("file,age", "name,age", "first line"),
        ("file,age,angle", "file,age,age=1", "'age=1' is no name"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(
    table: Path, before: str, after: str, says: str
) -> None:
    file = table / "conditions.csv"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    error = refusal(table)
    assert says in error.message
    assert error.hint
    assert error.exit_code == 2


def test_a_column_of_one_number_says_nothing(table: Path) -> None:
    rows = [f"{i}.png,7" for i in range(10)]
    (table / "conditions.csv").write_text("\n".join(["file,age", *rows]))
    assert "all images have age 7" in refusal(table).message
