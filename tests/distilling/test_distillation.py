"""A student from beginning to end, on a tiny teacher."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from adapted_runs import adapted_run
from diffusers import UNet2DModel

from antcli.artifacts import load_metadata, load_tensors
from antcli.config import PreviewConfig, TrainingConfig
from antcli.diffusion import sampling
from antcli.distilling import distillation, lessons
from antcli.distilling.distillation import Record, check_teacher, distill
from antcli.distilling.lessons import Taught
from antcli.distilling.settings import DistillConfig, distill_config_from
from antcli.distilling.training import LessonTraining
from antcli.errors import AntError
from antcli.exporting.export import export_run
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import asked_labels, check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.training.adaptation import Preview, Resumed
from antcli.training.loop import StepRecord

QUICK = {
    "steps": 2,
    "images": 3,
    "window_steps": 2,
    "rank": 2,
    "device": "cpu",
    "training": {"steps": 4, "batch_size": 4},
}
Make = Callable[..., tuple[Run, list[Record]]]


@pytest.fixture(scope="module")
def teachers(
    tiny_source: Path, tiny_target: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("teachers")
    kinds: dict[str, dict[str, Any]] = {
        "lora": {"method": "lora", "lora": {"rank": 2, "t_limit": 0.5}},
        "adaptor": {"method": "adaptor"},
        "finetune": {"method": "finetune"},
        "images": {"method": "lora", "lora": {"rank": 2, "t_limit": 0.5}, "images": 10},
    }
    return {
        name: adapted_run(folder / name, tiny_source, tiny_target, **said)
        for name, said in kinds.items()
    }


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "PREVIEW", PreviewConfig(images=1, every=2))


@pytest.fixture
def config() -> DistillConfig:
    return distill_config_from(QUICK)


@pytest.fixture
def make(
    teachers: dict[str, Run], config: DistillConfig, accelerator: Accelerator, tmp_path: Path
) -> Make:
    def start(
        name: str = "run",
        teacher: str = "lora",
        stop: Callable[[], bool] = lambda: False,
        **changes: Any,
    ) -> tuple[Run, list[Record]]:
        run, records = Run(tmp_path / name), []
        asked = replace(config, **changes)
        try:
            for record in distill(check_teacher(teachers[teacher]), asked, run, accelerator, stop):
                records.append(record)
        except KeyboardInterrupt:
            pass
        return run, records

    return start


def eps_of(run: Run, t: int) -> torch.Tensor:
    source = check_run_source(run)
    x_t = torch.randn(2, *source.shape, generator=torch.Generator().manual_seed(1))
    return load_adapted(run, source)(x_t, torch.full((2,), t))


def training(**changes: Any) -> TrainingConfig:
    return replace(distill_config_from(QUICK).training, **changes)


def kinds(records: list[Record]) -> list[type]:
    return [type(record) for record in records]


@pytest.mark.parametrize("teacher", ["lora", "adaptor", "finetune"])
def test_an_untrained_student_is_the_adapted_network(
    make: Make, teachers: dict[str, Run], teacher: str
) -> None:
    run, _ = make(teacher=teacher, training=training(steps=1, learning_rate=1e-30))
    torch.testing.assert_close(
        eps_of(run, 100), eps_of(teachers[teacher], 100), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("towards", ["windows", "distribution"])
def test_a_student_of_a_run_of_which_samples_have_its_images_in_turn_has_them_too(
    make: Make, teachers: dict[str, Run], tmp_path: Path, towards: str
) -> None:
    run, _ = make(teacher="images", towards=towards, training=training(learning_rate=1e-30))
    source = check_run_source(run)
    student, teacher = (load_adapted(of, source) for of in (run, teachers["images"]))
    x_t = torch.randn(2, *source.shape, generator=torch.Generator().manual_seed(1))
    t, found = torch.full((2,), 100), []
    for condition in (student.in_turn([13, 24]), student.in_turn([5, 6])):
        eps = student.guided(x_t, t, condition)
        torch.testing.assert_close(eps, teacher.guided(x_t, t, condition), rtol=1e-3, atol=1e-4)
        found.append(eps)
    assert (found[0] - found[1]).abs().mean() > 0.01
    drawn, asked = (
        torch.cat(list(source.sample(student, [13, 24], conditions=condition)))
        for condition in (None, torch.eye(10)[[3, 4]])
    )
    assert torch.equal(drawn, asked)
    for of, network in ((run, student), (teachers["images"], teacher)):
        with pytest.raises(AntError, match="each image is a condition of its own"):
            export_run(of)
        folder = tmp_path / f"exported-{of.folder.name}"
        export_run(of, out=folder, condition="4", ungated=True)
        exported = Denoiser(UNet2DModel.from_pretrained(folder / "unet"), source.convention)
        asked = torch.eye(10)[[3, 3]]
        torch.testing.assert_close(
            exported(x_t, t), network.guided(x_t, t, asked), rtol=1e-3, atol=1e-4
        )
        assert torch.equal(asked_labels(of, [1, 2], "4"), asked)
        with pytest.raises(AntError, match="11"):
            asked_labels(of, [1, 2], "11")


@pytest.mark.parametrize("towards", ["windows", "distribution"])
def test_each_lesson_is_learnt_as_the_image_that_its_sample_has(
    make: Make, teachers: dict[str, Run], config: DistillConfig, accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch, towards: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(sampling, "FASTEST_ON_CPU", 2)  # fewer than are taught together
    kept: dict[str, Any] = {}
    build = distillation.build_training

    def built(*given: Any) -> LessonTraining:
        kept["training"] = build(*given)
        return kept["training"]

    monkeypatch.setattr(distillation, "build_training", built)
    make(teacher="images", towards=towards)
    learnt: LessonTraining = kept["training"]
    (step,) = learnt._draw()
    first = lessons.seeds_of(config)[0]
    expected = torch.eye(10)[(first + step.images) % 10]
    assert torch.equal(step.condition, expected)
    with torch.no_grad():
        asked = learnt.network.guided(step.x_t, step.t, expected)
        torch.testing.assert_close(step.output, asked, rtol=1e-4, atol=1e-5)
        others = learnt.network.guided(step.x_t, step.t, expected.roll(1, 1))
    assert (step.output - others).abs().mean() > 0.001


def test_it_is_a_run_that_needs_no_other(make: Make, teachers: dict[str, Run]) -> None:
    run, records = make()
    assert kinds(records) == [
        Taught,
        Preview,
        StepRecord,
        StepRecord,
        Preview,
        StepRecord,
        StepRecord,
        Preview,
    ]
    assert run.finished
    assert run.config() == teachers["lora"].config()
    assert not any(file.exists() for file in (run.state, run.lessons))
    moved = Run(run.folder.rename(run.folder.with_name("elsewhere")))
    trained = load_tensors(moved.weights)
    assert all(name.startswith("lora.") for name in trained)
    assert not torch.equal(eps_of(moved, 799), eps_of(teachers["lora"], 799))
    sizes = [
        sum(t.numel() for t in load_tensors(f).values()) for f in (moved.weights, moved.adapted)
    ]
    assert sizes[0] == sizes[1]  # of the same rank
    assert json.loads(load_metadata(moved.weights)["ant.sampler"])["steps"] == 2


def test_what_lies_over_adaptors_is_exported_by_nobody(make: Make) -> None:
    run, _ = make(teacher="adaptor")
    with pytest.raises(AntError, match="modules beside the network"):
        export_run(run)
    assert not run.exports.exists()


def test_it_learns_its_lessons(make: Make) -> None:
    _, records = make(images=2, training=training(steps=60, learning_rate=3e-3), rank=8)
    losses = [record.loss for record in records if isinstance(record, StepRecord)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize("towards", ["windows", "distribution"])
def test_a_student_that_was_stopped_goes_on_to_the_same_weights(make: Make, towards: str) -> None:
    whole, _ = make("whole", towards=towards)
    stops = iter([False, False, True])
    run, records = make("cut", stop=lambda: next(stops), towards=towards)
    assert (records[-1].step, run.facts()["step"], run.finished) == (3, 3, False)
    assert ("parts/score/" in str(load_tensors(run.state).keys())) == (towards == "distribution")
    run, records = make("cut", towards=towards)
    assert kinds(records) == [Resumed, StepRecord, Preview]
    torch.testing.assert_close(
        load_tensors(run.weights), load_tensors(whole.weights), rtol=0, atol=0
    )


def test_lessons_that_were_cut_are_gone_on_with(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "AT_ONCE", 2)
    whole, records = make("whole", images=5)
    assert records[:3] == [Taught(2, 5), Taught(4, 5), Taught(5, 5)]
    save = lessons.save_tensors

    def once(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lessons, "save_tensors", once)
        run, _ = make("cut", images=5)
    assert len(load_tensors(run.lessons)["x_0"]) == 2
    run, records = make("cut", images=5)
    assert records[:2] == [Taught(4, 5), Taught(5, 5)]
    torch.testing.assert_close(
        load_tensors(run.weights), load_tensors(whole.weights), rtol=0, atol=0
    )


def test_micro_batches_change_nothing(make: Make) -> None:
    whole, _ = make("whole")
    parts, _ = make("parts", training=training(micro_batch=1))
    torch.testing.assert_close(
        load_tensors(parts.weights), load_tensors(whole.weights), rtol=1e-3, atol=1e-5
    )


def test_the_distribution_moves_what_the_windows_teach(make: Make) -> None:
    runs = [make(name, towards=name)[0] for name in ("windows", "distribution")]
    own, other = (load_tensors(run.weights) for run in runs)
    assert own.keys() == other.keys()
    assert not torch.equal(
        torch.cat([*map(torch.ravel, own.values())]), torch.cat([*map(torch.ravel, other.values())])
    )


def test_a_student_is_no_teacher(make: Make) -> None:
    run, _ = make()
    with pytest.raises(AntError, match="distilled itself"):
        check_teacher(run)


def test_of_all_weights_too_only_an_export_says_how_they_draw(make: Make) -> None:
    run, _ = make(teacher="finetune", trains="all")
    assert not run.model.exists(), "an ordinary folder would draw at every t"
    scheduler = json.loads(
        (export_run(run).folder / "scheduler" / "scheduler_config.json").read_text()
    )
    assert scheduler["num_train_timesteps"] != 1000
