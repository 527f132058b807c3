"""One distillation from beginning to end, as a stream of records; it fills the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from antcli.artifacts import file_hash
from antcli.config import AdaptConfig, PreviewConfig
from antcli.diffusion.sampler import FewSteps
from antcli.distilling.distribution import MatchingObjective, own_score
from antcli.distilling.folder import StudentFolder, beside, check_other, keep_adapted, through
from antcli.distilling.lessons import (
    Lessons,
    Taught,
    are_whole,
    draw_lessons,
    load_lessons,
    seeds_of,
)
from antcli.distilling.settings import DistillConfig
from antcli.distilling.training import LessonTraining
from antcli.distilling.windows import WindowObjective
from antcli.errors import AntError
from antcli.evaluation.stopping import Score
from antcli.methods.student import build_student
from antcli.methods.trainable.denoiser import Denoiser
from antcli.processes import others_wait
from antcli.runs.adapted import check_run_source, conditions_of, load_adapted
from antcli.runs.run import Run
from antcli.sources.source import Source
from antcli.training.adaptation import Preview, Resumed
from antcli.training.loop import StepRecord, check_batch

Record = Taught | Resumed | StepRecord | Preview | Score
PREVIEW = PreviewConfig(every=50)
RISING = 4
"""Of all steps, the part in which the weight of the matching rises."""


@dataclass(frozen=True)
class Teacher:
    """An adapted run that a student learns from, checked."""

    run: Run
    source: Source

    def identity(self, config: DistillConfig) -> dict[str, Any]:
        """What tells two students apart, and what a run of ant tells of its source and target."""
        facts = self.run.facts()
        known = ("source_sha256", "target_sha256", "target_folder")
        return {
            **{name: facts[name] for name in known},
            "adapted_sha256": file_hash(self.run.weights),
            "sampler": asdict(config.sampler),
            "distilled": asdict(config),
        }


def check_teacher(run: Run) -> Teacher:
    """Raises `AntError` where a run cannot be distilled."""
    if isinstance(run.sampler, FewSteps):
        raise AntError(
            f"{run.folder} is distilled itself",
            "distil the run that it came from, which knows more",
            exit_code=2,
        )
    if conditions_of(run) is not None:
        raise AntError(
            f"{run.folder} has several conditions, and a student draws of one domain",
            "distil a run of a folder with one of them",
            exit_code=2,
        )
    return Teacher(run, check_run_source(run))


def distill(
    teacher: Teacher,
    config: DistillConfig,
    run: Run,
    accelerator: Accelerator,
    stop: Callable[[], bool] = lambda: False,
    *,
    clear: bool = False,
) -> Iterator[Record]:
    """Make a student of the teacher; a run that was cut goes on where it was, unless `clear`.

    Raises `AntError` where that would be the teacher's own, `KeyboardInterrupt` after the step in
    which `stop()` turned true, with the state saved, and `NonFiniteLossError` with the last good
    state kept.
    """
    check_batch(config.training, accelerator.num_processes)
    check_other(run, teacher.run)
    main, identity = accelerator.is_main_process, teacher.identity(config)
    with run.held() if main else nullcontext():
        with others_wait(accelerator):
            if main:
                run.begin(teacher.run.config(), identity, clear=clear)
                keep_adapted(teacher.run.weights, run)
        yield from _work(teacher, config, run, accelerator, stop)


def _work(
    teacher: Teacher,
    config: DistillConfig,
    run: Run,
    accelerator: Accelerator,
    stop: Callable[[], bool],
) -> Iterator[Record]:
    """All that is done in the run's folder."""
    main, source = accelerator.is_main_process, teacher.source
    with others_wait(accelerator):
        if main and not are_whole(run.lessons, config):
            yield from draw_lessons(
                load_adapted(teacher.run, source), source, config, accelerator, run.lessons
            )
    training = build_training(
        teacher, config, accelerator, load_lessons(run.lessons, source, config)
    )
    student = _student_config(teacher.run.config(), config)
    identity = teacher.identity(config)
    folder = StudentFolder(run, training, source, identity, student, None, teacher.run)
    yield from through(folder, stop)


def build_training(
    teacher: Teacher, config: DistillConfig, accelerator: Accelerator, lessons: Lessons
) -> LessonTraining:
    """The training that the settings mean, not begun."""

    def adapted() -> Denoiser:
        return load_adapted(teacher.run, teacher.source)

    def student() -> Denoiser:
        return build_student(adapted(), config.student(teacher.run.config()), config.sampler)

    objective, others = WindowObjective(), {}
    if config.towards == "distribution":
        score = student()
        objective = MatchingObjective(
            teacher=adapted().requires_grad_(False).to(accelerator.device).guided,
            score=score.guided,
            weight=config.matching,
            rising=-(-config.training.steps // RISING),
        )
        others = {"score": own_score(score, config.training, accelerator)}
    network = student()
    return LessonTraining(
        network,
        lessons,
        config.training,
        accelerator,
        seed=config.seed,
        objective=objective,
        others=others,
        conditions=network.in_turn(seeds_of(config)),
    )


def _student_config(adapted: AdaptConfig, config: DistillConfig) -> AdaptConfig:
    return replace(config.student(adapted), preview=PREVIEW)


def default_student_folder(run: Run, steps: int) -> Path:
    """Where a student goes that was given no place: beside the run that it is distilled from."""
    return beside(run, f"{steps}-steps")
