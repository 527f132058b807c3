"""A target of several conditions, as a user types it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from adapted_runs import adapted_run, trained_run
from diffusers import DDPMPipeline
from PIL import Image
from source_kinds import TEXT_DIMENSION, write_kind

import antcli
from antcli.artifacts import load_metadata, load_tensors, save_tensors
from antcli.errors import AntError
from antcli.methods.counterparts import Counterparts
from antcli.runs.adapted import conditions_of
from antcli.runs.run import Run
from antcli.sources.source import find_source


@pytest.fixture(scope="session")
def finished(
    tiny_source: Path, tiny_conditions: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("runs") / "several"
    return trained_run(tiny_source, tiny_conditions, quick, out, "--method", "lora")


@pytest.fixture
def several(finished: Path, tmp_path: Path) -> Path:
    """A finished run of two conditions, whose embeddings are far apart."""
    run = Run(Path(shutil.copytree(finished, tmp_path / "several")))
    tensors, facts = load_tensors(run.weights), load_metadata(run.weights)
    draw = torch.Generator().manual_seed(0)
    weight = tensors["conditions.linear.weight"]
    tensors["conditions.linear.weight"] = torch.randn(weight.shape, generator=draw)
    save_tensors(run.weights, tensors, facts)
    return run.folder


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_adapt_says_what_conditions_there_are_and_shows_each(
    adapt: Callable, tiny_conditions: Path, tmp_path: Path
) -> None:
    done = adapt("--target", tiny_conditions, "--method", "lora")
    assert done.code == 0, done.err
    assert "conditions: hats (4 images), specs (6 images)" in done.err
    assert "where left and right matter" in done.err
    with Image.open(tmp_path / "run" / "preview.png") as page:
        # Four seeds: a row of the source's, and a row of each condition's.
        assert page.height == 3 * (page.height // 3)
        assert page.height > 2.5 * page.width / 4


def test_the_plan_tells_the_conditions_and_what_becomes_of_them(
    adapt: Callable, tiny_conditions: Path, tmp_path: Path
) -> None:
    done = adapt("--target", tiny_conditions, "--dry-run")
    assert "# conditions: hats (4 images), specs (6 images); what the source" in done.out
    assert not (tmp_path / "run").exists()


def test_a_sample_has_the_condition_that_is_asked_for(ant: Callable, several: Path) -> None:
    turn = ant("sample", several, "-n", 4, "--steps", 2)
    assert turn.code == 0, turn.err
    assert "conditions in turn, by the seed: hats; specs" in turn.err
    asked = ["hats", "specs", "hats=0.5,specs=0.5", "hats=1,specs=0"]
    for condition in asked:
        done = ant("sample", several, "-n", 4, "--steps", 2, "--condition", condition)
        assert done.code == 0, done.err
        assert done.out.strip() == str(several / "conditions" / f"{condition}-grid.png")
    hats, specs, both, plainly = (several / "conditions" / condition for condition in asked)
    for seed in range(4):
        name = f"{seed:06d}.png"
        own, other = (hats, specs) if seed % 2 == 0 else (specs, hats)
        assert np.abs(pixels(several / "samples" / name) - pixels(own / name)).max() <= 1
        assert np.abs(pixels(several / "samples" / name) - pixels(other / name)).max() > 10
        assert np.abs(pixels(both / name) - pixels(own / name)).max() > 5
        assert np.abs(pixels(plainly / name) - pixels(hats / name)).max() <= 1
    assert Image.open(hats / "000000.png").text["ant.condition"] == "hats"


def test_images_of_another_condition_are_drawn_anew(ant: Callable, several: Path) -> None:
    there = several / "mine"
    for condition in ("hats", "specs"):
        ant("sample", several, "-n", 1, "--steps", 2, "--condition", condition, "--out", there)
        assert Image.open(there / "000000.png").text["ant.condition"] == condition
    ant("sample", several, "-n", 1, "--steps", 2, "--out", there)
    assert "ant.condition" not in Image.open(there / "000000.png").text


@pytest.mark.parametrize(
    ("asked", "says"), [("scarves", "no condition 'scarves'"), ("hats=x", "says no number")]
)
def test_a_condition_that_is_not_there_is_told(
    asked: str, says: str, ant: Callable, several: Path
) -> None:
    done = ant("sample", several, "--condition", asked)
    assert done.code == 2
    assert says in done.err
    assert "hint:" in done.err
    assert not (several / "conditions").exists()


def test_images_that_are_conditions_may_be_asked_for(
    adapt: Callable, ant: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counterparts, "unbound", True)
    done = adapt("--method", "bridge")
    assert done.code == 0, done.err
    assert "each of the 10 images in turn: `ant sample" in done.err
    run = tmp_path / "run"
    turn = ant("sample", run, "-n", 1, "--steps", 2)
    assert "each of the 10 images in turn" in turn.err
    for condition, code in (("1", 0), ("10", 0), ("11", 2)):
        asked = ant("sample", run, "-n", 1, "--steps", 2, "--condition", condition)
        assert asked.code == code, asked.err


def test_images_of_several_folders_are_conditions_by_their_names(
    adapt: Callable,
    ant: Callable,
    tiny_conditions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Counterparts, "unbound", True)
    done = adapt("--method", "bridge", "--target", tiny_conditions)
    assert done.code == 0, done.err
    assert "--condition hats#1` draws with" in done.err
    run = tmp_path / "run"
    assert load_tensors(Run(run).weights)["conditions.linear.weight"].shape[1] == 10
    with Image.open(run / "preview.png") as page:  # a row of the source's, and one of each name
        assert page.height > 2.5 * page.width / 4
    turn = ant("sample", run, "-n", 10, "--steps", 2)
    assert "conditions in turn, by the seed: hats; specs" in turn.err
    assert "`--condition hats#1` asks for the first's" in turn.err
    for condition in ("hats", "hats#2", "hats#1=0.5,specs=0.5"):
        asked = ant("sample", run, "-n", 2, "--steps", 2, "--condition", condition)
        assert asked.code == 0, asked.err
    # The second hat is that of the second sample with hats, and of the third in turn.
    place = run / "conditions"
    same = pixels(place / "hats" / "000001.png") - pixels(place / "hats#2" / "000001.png")
    assert np.abs(same).max() <= 1
    assert ant("sample", run, "--condition", "hats#5").code == 2
    measured = ant("evaluate", "kid", run, "-n", 10, "--json")
    assert measured.code == 0, measured.err
    assert "hats: adapted" in json.loads(measured.out)["conditions"]
    several = ant("export", run, "--ungated", "--condition", "hats")
    assert several.code == 2
    assert "each image is a condition of its own" in several.err
    assert "hats#1, hats#2" in several.err
    single = ant("export", run, "--ungated", "--condition", "hats#2")
    assert single.code == 0, single.err


def test_a_run_without_conditions_has_none_to_ask_for(ant: Callable, run: Path) -> None:
    for command in ("sample", "export"):
        done = ant(command, run, "--condition", "hats")
        assert done.code == 2
        assert "has no conditions" in done.err
        assert "leave --condition out" in done.err


def test_numbers_are_asked_for_by_their_column(
    adapt: Callable, ant: Callable, tiny_target: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_target, tmp_path / "ages"))
    rows = [f"{i}.png,{i}" for i in range(10)]
    (folder / "conditions.csv").write_text("\n".join(["file,age", *rows]))
    done = adapt("--target", folder, "--method", "finetune")
    assert done.code == 0, done.err
    assert "age=0 (2 images), age=3 (3 images), age=6" in done.err
    beyond = ant("sample", tmp_path / "run", "-n", 1, "--steps", 1, "--condition", "age=20")
    assert beyond.code == 0, beyond.err
    assert "note: age=20 is outside of what was seen, 0 to 9" in beyond.err
    exported = ant("export", tmp_path / "run", "--condition", "age=20")
    assert exported.code == 0, exported.err
    assert "note: age=20 is outside of what was seen, 0 to 9" in exported.err
    within = ant("sample", tmp_path / "run", "-n", 1, "--steps", 1, "--condition", "age=0.7")
    assert within.code == 0
    assert "outside" not in within.err
    unknown = ant("sample", tmp_path / "run", "-n", 1, "--condition", "hair=1")
    assert unknown.code == 2
    assert "it knows age" in unknown.err


def test_each_condition_is_measured_beside_its_own_images(ant: Callable, several: Path) -> None:
    done = ant("evaluate", "kid", several, "-n", 12, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    each = found["conditions"]
    rows = [f"{c}: {row}" for c in ("hats", "specs") for row in ("adapted", "source, not adapted")]
    assert list(each) == rows
    references = {name: row["reference_sha256"] for name, row in each.items()}
    assert len({*references.values(), found["reference_sha256"]}) == 3
    assert references[rows[0]] == references[rows[1]]
    (several / "alone").mkdir()
    for seed in range(0, 12, 2):
        shutil.copy(several / "samples" / f"{seed:06d}.png", several / "alone")
    alone = ant(
        *("evaluate", "kid", "--images", several / "alone", "--json", "--features", "source"),
        *("--target", Path(Run(several).facts()["target_folder"]) / "hats"),
        *("--source", Run(several).config().source),
    )
    assert json.loads(alone.out)["value"] == pytest.approx(each[rows[0]]["value"], rel=1e-5)


@pytest.mark.parametrize("format", ["lora", "kohya"])
def test_files_of_additions_alone_cannot_hold_a_condition(
    ant: Callable, tiny_conditions: Path, tmp_path: Path, format: str
) -> None:
    source = write_kind("text", tmp_path / "text")
    asks = {
        f"{which}encoder_hidden_states": torch.randn(1, 5, TEXT_DIMENSION)
        for which in ("", "nothing.")
    }
    run = adapted_run(tmp_path / "run", source, tiny_conditions, asks, method="lora")
    refused = ant("export", run.folder, "--format", format, "--condition", "specs")
    assert refused.code == 2
    assert f"which {format} files cannot hold" in refused.err
    assert "ant export --format diffusers" in refused.err
    assert not run.exports.exists()


def test_a_condition_alone_is_exported(ant: Callable, several: Path) -> None:
    without = ant("export", several)
    assert without.code == 2
    assert "has several conditions, and a diffusers export holds one" in without.err
    assert "--condition: hats, specs, or a mixture" in without.err
    done = ant("export", several, "--condition", "specs")
    assert done.code == 0, done.err
    folder = several / "exports" / "diffusers-specs"
    assert done.out.strip() == str(folder)
    assert "of which these files hold one, specs" in (folder / "README.md").read_text()
    x_t = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([300])
    exported = DDPMPipeline.from_pretrained(folder).unet
    network, known = antcli.load(several)._network, conditions_of(Run(several))
    assert known is not None
    with torch.no_grad():
        expected = network.guided(x_t, t, known.label("specs")[None])
        torch.testing.assert_close(exported(x_t, t).sample, expected, rtol=1e-3, atol=1e-4)


def test_the_pipeline_takes_a_condition(ant: Callable, several: Path) -> None:
    ant("sample", several, "-n", 2, "--steps", 2, "--condition", "specs")
    ant("sample", several, "-n", 2, "--steps", 2)
    pipeline = antcli.load(several)
    for condition, folder in (
        ("specs", several / "conditions" / "specs"),
        ("", several / "samples"),
    ):
        images = pipeline(2, num_inference_steps=2, condition=condition).images
        for seed, image in enumerate(images):
            assert np.abs(pixels(folder / f"{seed:06d}.png") - np.asarray(image)).max() <= 1
    with pytest.raises(AntError, match="no condition 'scarves'"):
        pipeline(1, condition="scarves")


# --- sources with classes --------------------------------------------------------------------


def test_what_a_source_makes_of_classes_trains_when_it_is_told_to(
    adapt: Callable, tiny_conditions: Path, tmp_path: Path
) -> None:
    source = write_kind("class-conditional", tmp_path / "classes")
    options = ("--source", source, "--target", tiny_conditions, "--class-label", 1)
    done = adapt(*options, "--method", "lora", "--train-condition")
    assert done.code == 0, done.err
    weights = load_tensors(Run(tmp_path / "run").weights)
    before = find_source(str(source)).load().class_embedding.weight
    moved = (weights["encoder.own.weight"] - before).abs().amax(1)
    assert moved[1] > 1e-4
    assert "conditions.linear.weight" in weights


@pytest.mark.parametrize("trains", ["lora", "bias", "modulation"])
def test_what_a_source_makes_of_columns_trains_only_when_it_is_told_to(
    adapt: Callable, tmp_path: Path, trains: str
) -> None:
    source = write_kind("columns", tmp_path / "columns")
    options = ("--source", source, "--train", trains)
    assert adapt(*options).code == 0
    weights = load_tensors(Run(tmp_path / "run").weights)
    assert not [name for name in weights if "class_embedding" in name]
    done = adapt(*options, "--train-condition", "--force")
    assert done.code == 0, done.err
    assert "encoder.own.linear_1.weight" in load_tensors(Run(tmp_path / "run").weights)


def test_of_a_source_without_classes_nothing_of_the_kind_can_train(
    adapt: Callable, tmp_path: Path
) -> None:
    done = adapt("--train-condition")
    assert done.code == 2
    assert "leave --train-condition out" in done.err
    assert not (tmp_path / "run").exists()


def test_a_run_of_several_conditions_is_not_distilled(
    ant: Callable, several: Path, tmp_path: Path
) -> None:
    refused = ant("distill", several, "--out", tmp_path / "student")
    assert refused.code == 2
    assert "has several conditions" in refused.err
    assert not (tmp_path / "student").exists()
