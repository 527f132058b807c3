"""`ant distill`: a run of few steps, and what the other commands make of it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from PIL import Image

import antcli
from antcli.artifacts import load_tensors
from antcli.config import PreviewConfig
from antcli.distilling import distillation, refining
from antcli.randomness import generator

QUICK = ["--images", 3, "--train-steps", 2, "--batch-size", 4, "--device", "cpu"]


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "PREVIEW", PreviewConfig(images=1))


@pytest.fixture
def student(ant: Callable, run: Path) -> Path:
    """A run of four steps, beside the one that it was distilled from."""
    done = ant("distill", run, *QUICK)
    assert done.code == 0, done.err
    folder = run.with_name("run-4-steps")
    assert done.out.strip() == str(folder / "preview.png")
    return folder


def drawn(folder: Path, seed: int) -> np.ndarray:
    return np.asarray(Image.open(folder / f"{seed:06d}.png")).astype(int)


def test_it_is_sampled_by_its_own_steps_each_image_from_its_seed_alone(
    ant: Callable, student: Path, tmp_path: Path
) -> None:
    assert ant("sample", student, "-n", 3, "--out", tmp_path / "many").code == 0
    assert ant("sample", student, "-n", 1, "--seed", 2, "--out", tmp_path / "one").code == 0
    assert np.abs(drawn(tmp_path / "many", 2) - drawn(tmp_path / "one", 2)).max() <= 1
    said = Image.open(tmp_path / "many" / "000000.png").text["ant.sampler"]
    assert said == "ddpm, 4 steps, distilled"
    few = ant("sample", student, "-n", 1, "--steps", 2, "--out", tmp_path / "two")
    assert few.code == 0, few.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", 5], "cannot take 5"),
        (["--steps", 3], "cannot take 3"),
        (["--scheduler", "dpm++"], "draws by ddpm alone"),
    ],
)
def test_what_it_was_not_made_for_is_refused(
    ant: Callable, student: Path, options: list, said: str
) -> None:
    done = ant("sample", student, "-n", 1, *options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "hint: leave --" in done.err
    assert not (student / "samples").exists()


def test_its_evaluation_has_its_own_samples_beside_the_sources(
    ant: Callable, student: Path, random_trunk: Path
) -> None:
    options = ["-n", 4, "--net", "squeeze", "--trunk-weights", random_trunk, "--json"]
    done = ant("evaluate", "intra-lpips", student, *options)
    assert done.code == 0, done.err
    json.loads(done.out)
    said = [
        Image.open(student / f / "000000.png").text["ant.sampler"]
        for f in ("samples", "source-samples")
    ]
    assert said == ["ddpm, 4 steps, distilled", "dpm++, 25 steps"]


def test_a_pipeline_of_diffusers_draws_the_same(ant: Callable, student: Path) -> None:
    done = ant("export", student)
    assert done.code == 0, done.err
    card = (Path(done.out.strip()) / "README.md").read_text()
    assert "num_inference_steps=4" in card
    assert "distilled to 4 steps" in card
    pipeline = DDPMPipeline.from_pretrained(done.out.strip())
    noise = [generator(seed, "sample") for seed in range(2)]
    found = pipeline(2, noise, 4, output_type="np").images
    expected = antcli.load(student)(2, output_type="np").images
    torch.testing.assert_close(
        torch.from_numpy(found), torch.from_numpy(expected), rtol=0, atol=2 / 255
    )


def test_files_of_additions_to_the_source_cannot_hold_it(ant: Callable, student: Path) -> None:
    done = ant("export", student, "--format", "lora")
    assert done.code == 2
    assert "no program reads low-rank files" in done.err  # of a network without text


def test_the_same_command_goes_on_and_another_does_not(
    ant: Callable, run: Path, student: Path
) -> None:
    done = ant("distill", run, *QUICK)
    assert done.code == 1
    assert "is finished" in done.err
    facts = json.loads((student / "run.json").read_text())
    (student / "run.json").write_text(json.dumps({**facts, "status": "running", "step": 1}))
    other = ant("distill", run, *QUICK, "--train", "bias")
    assert other.code == 1
    assert "other settings" in other.err
    assert "distilled.trains: lora -> bias" in other.err
    unfinished = ant("sample", student)
    assert "not finished (1 of 2 steps)" in unfinished.err
    assert "`ant distill` command again" in unfinished.err


def test_what_was_distilled_goes_on_with_a_critic(
    ant: Callable, run: Path, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refining, "PREVIEW", PreviewConfig(images=1))
    quick = ("--towards", "critic", "--device", "cpu", "--train-steps", 1, "--batch-size", 2)
    done = ant("distill", student, *quick)
    assert done.code == 0, done.err
    folder = run.with_name("run-4-steps-critic")
    assert done.out.strip() == str(folder / "preview.png")
    assert "a critic of 10 images" in done.err
    sampled = ant("sample", folder, "-n", 1)
    assert sampled.code == 0, sampled.err
    before, after = (load_tensors(each / "weights.safetensors") for each in (student, folder))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    again = ant("distill", student, *quick)
    assert again.code == 1
    assert "is finished" in again.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", 2], "a student as it was made"),
        (["--micro-batch", 1], "sees its batches whole"),
        (["--out", "run-4-steps", "--force"], "cannot be distilled into itself"),
    ],
)
def test_what_a_critic_cannot_do_is_told(
    ant: Callable, student: Path, options: list, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(student.parent)
    done = ant("distill", student, "--towards", "critic", "--device", "cpu", *options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert ant("sample", student, "-n", 1).code == 0


def test_a_critic_goes_on_with_nothing_but_a_student(ant: Callable, run: Path) -> None:
    done = ant("distill", run, "--towards", "critic")
    assert done.code == 2
    assert "draws in many steps" in done.err
    assert f"`ant distill {run}` comes first" in done.err


def test_what_cannot_be_distilled_is_told(ant: Callable, run: Path, student: Path) -> None:
    again = ant("distill", student, *QUICK)
    assert (again.code, again.out) == (2, "")
    assert "is distilled itself" in again.err
    itself = ant("distill", run, *QUICK, "--out", run, "--force")
    assert (itself.code, itself.out) == (2, "")
    assert "cannot be distilled into itself" in itself.err
    assert ant("sample", run, "-n", 1, "--steps", 1).code == 0
    unknown = ant("distill", run, "--train", "everything", "--out", run / "x")
    assert unknown.code == 2
    assert "choices.trains" in unknown.err
    assert not (run / "x").exists()
