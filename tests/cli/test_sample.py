"""`ant sample`: one image for each seed, depending on nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from antcli.artifacts import load_metadata, load_tensors, save_tensors


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_images_are_named_by_their_seed_and_depend_on_it_alone(
    ant: Callable, run: Path, tmp_path: Path
) -> None:
    many, one = tmp_path / "many", tmp_path / "one"
    assert ant("sample", run, "-n", 5, "--steps", 3, "--seed", 3, "--out", many).code == 0
    assert ant("sample", run, "-n", 1, "--steps", 3, "--seed", 6, "--out", one).code == 0
    assert sorted(path.name for path in many.iterdir()) == [f"{i:06d}.png" for i in range(3, 8)]
    assert np.abs(_pixels(many / "000006.png") - _pixels(one / "000006.png")).max() <= 1
    assert np.abs(_pixels(many / "000006.png") - _pixels(many / "000005.png")).max() > 10


def test_the_page_lies_beside_the_images_and_is_the_result(ant: Callable, run: Path) -> None:
    done = ant("sample", run, "-n", 4, "--steps", 2)
    assert done.out.strip() == str(run / "samples-grid.png")
    assert Image.open(run / "samples-grid.png").width > 4 * 16
    assert len(list((run / "samples").iterdir())) == 4
    no_page = ant("sample", run, "-n", 4, "--steps", 2, "--no-grid", "--out", run / "more")
    assert no_page.out.strip() == str(run / "more")
    assert not (run / "more-grid.png").exists()


def test_every_scheduler_draws_and_they_differ(ant: Callable, run: Path, tmp_path: Path) -> None:
    for name in ("dpm++", "ddim", "ddpm"):
        done = ant(
            "sample", run, "-n", 1, "--steps", 4, "--scheduler", name, "--out", tmp_path / name
        )
        assert done.code == 0, done.err
    images = [_pixels(tmp_path / name / "000000.png") for name in ("dpm++", "ddim", "ddpm")]
    assert np.abs(images[0] - images[1]).max() > 0
    assert np.abs(images[1] - images[2]).max() > 0


def test_images_say_what_made_them(ant: Callable, run: Path) -> None:
    ant("sample", run, "-n", 1, "--steps", 2, "--seed", 9)
    text = Image.open(run / "samples" / "000009.png").text
    assert text["ant.seed"] == "9"
    assert text["ant.run"] == str(run.resolve())


def test_without_a_run_the_latest_one_is_meant(
    ant: Callable, adapt: Callable, tmp_path: Path
) -> None:
    none = ant("sample", "-n", 1)
    assert none.code == 2
    assert "there is no run yet" in none.err
    assert adapt("--method", "adaptor").code == 0
    assert ant("sample", "-n", 1, "--steps", 2).code == 0
    assert (tmp_path / "run" / "samples" / "000000.png").exists()


def test_an_image_of_which_a_power_cut_left_the_name_is_drawn_again(
    ant: Callable, run: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "cut" / "000000.png"
    empty.parent.mkdir()
    empty.touch()
    assert ant("sample", run, "-n", 1, "--steps", 1, "--out", empty.parent).code == 0
    assert Image.open(empty).text["ant.seed"] == "0"


def test_an_image_of_which_a_power_cut_left_the_beginning_is_drawn_again(
    ant: Callable, run: Path
) -> None:
    assert ant("sample", run, "-n", 2, "--steps", 1).code == 0
    image = run / "samples" / "000001.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:-20])
    assert ant("sample", run, "-n", 2, "--steps", 1).code == 0
    assert image.read_bytes() == whole


def test_the_page_takes_the_place_of_its_own_alone(
    ant: Callable, run: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "out-grid.png"
    Image.new("RGB", (4, 4)).save(mine)
    before = mine.read_bytes()
    done = ant("sample", run, "-n", 1, "--steps", 1, "--out", tmp_path / "out")
    assert (done.code, "out-grid.png is not from ant" in done.err) == (1, True)
    assert mine.read_bytes() == before
    assert not (tmp_path / "out").exists()
    mine.unlink()
    for _ in range(2):
        assert ant("sample", run, "-n", 1, "--steps", 1, "--out", tmp_path / "out").code == 0


def test_places_without_a_name(
    ant: Callable, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = ant("sample", run, "-n", 1, "--steps", 1, "--out", ".")
    assert (done.code, done.out.strip()) == (0, str(tmp_path / "here-grid.png"))
    assert Path("000000.png").exists()
    done = ant("sample", run, "-n", 1, "--out", "/")
    assert (done.code, "no place to write to" in done.err) == (2, True)
    monkeypatch.chdir(run)
    assert ant("sample", ".", "-n", 1, "--steps", 1).code == 0
    assert ant("export", ".", "--out", "/").code == 1


def test_damaged_weights_are_told_with_the_way_out(ant: Callable, run: Path) -> None:
    weights = run / "weights.safetensors"
    whole = weights.read_bytes()
    take = f"ant evaluate checkpoints {run} --take"
    weights.write_bytes(whole[: len(whole) // 2])
    cut = ant("sample", run, "-n", 1)
    assert (cut.code, take in cut.err) == (1, True), cut.err
    weights.unlink()
    for command in (["sample"], ["distill"], ["export"], ["evaluate", "fid"], ["evaluate", "all"]):
        gone = ant(*command, run)
        assert (gone.code, "has lost its weights" in gone.err) == (1, True), gone.err
        assert take in gone.err
    assert ant("evaluate", "checkpoints", run, "--take").code == 0
    assert ant("sample", run, "-n", 1, "--steps", 1).code == 0


def test_commands_are_named_as_a_shell_takes_them(ant: Callable, run: Path) -> None:
    named = run.rename(run.with_name("my run"))
    assert f"ant evaluate intra-lpips '{named}'" in ant("sample", named, "-n", 1).err


def test_a_file_is_no_folder_to_draw_into(ant: Callable, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = ant("sample", run, "-n", 1, "--out", tmp_path / "file")
    assert (done.code, "is a file" in done.err) == (2, True)


def test_a_file_that_is_no_image_is_not_overwritten(
    ant: Callable, run: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes" / "000000.png"
    notes.parent.mkdir()
    notes.write_text("mine")
    done = ant("sample", run, "-n", 1, "--out", notes.parent)
    assert done.code == 1
    assert "is not from ant" in done.err
    assert notes.read_text() == "mine"


def test_somebody_elses_image_is_not_overwritten(ant: Callable, run: Path, tmp_path: Path) -> None:
    photo = tmp_path / "album" / "000000.png"
    photo.parent.mkdir()
    Image.new("RGB", (4, 4), "red").save(photo)
    before = photo.read_bytes()
    done = ant("sample", run, "-n", 1, "--out", photo.parent)
    assert done.code == 1
    assert "is not from ant" in done.err
    assert photo.read_bytes() == before


def test_weights_cut_short_or_of_another_model_are_refused(ant: Callable, run: Path) -> None:
    weights = run / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    cut = ant("sample", run, "-n", 1)
    assert cut.code == 1
    assert "not a whole safetensors file" in cut.err
    weights.write_bytes(whole)
    tensors = load_tensors(weights)
    tensors.pop(next(iter(tensors)))
    save_tensors(weights, tensors, load_metadata(weights))
    other = ant("sample", run, "-n", 1)
    assert other.code == 1
    assert "weights of another model" in other.err


def test_a_folder_that_is_no_run_or_not_finished(ant: Callable, run: Path, tmp_path: Path) -> None:
    assert "no run" in ant("sample", tmp_path / "nowhere").err
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "running", "step": 2}))
    done = ant("sample", run)
    assert done.code == 1
    assert "not finished (2 of 4 steps)" in done.err
