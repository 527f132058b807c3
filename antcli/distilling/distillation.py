"""One distillation from beginning to end, as a stream of records; it fills the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from antcli.artifacts import file_hash
from antcli.config import AdaptConfig, PreviewConfig
from antcli.diffusion.sampler import FewSteps
from antcli.distilling.folder import StudentFolder, keep_adapted
from antcli.distilling.lessons import Lessons, Taught, draw_lessons, load_lessons
from antcli.distilling.settings import DistillConfig
from antcli.distilling.windows import WindowObjective
from antcli.errors import AntError
from antcli.evaluation.samples import check_run_source, load_adapted
from antcli.evaluation.stopping import Score
from antcli.methods.choice import Step
from antcli.methods.student import build_student
from antcli.processes import others_wait, own_share
from antcli.runs import Run
from antcli.sources.source import Source
from antcli.training.adaptation import Preview, Resumed, begin, keep
from antcli.training.loop import StepRecord, Training, check_batch

Record = Taught | Resumed | StepRecord | Preview | Score
PREVIEW = PreviewConfig(every=100)


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
    return Teacher(run, check_run_source(run))


class WindowTraining(Training):
    """A student and its lessons."""

    examples: Lessons

    def _draw(self) -> list[Step]:
        size, lessons = self.config.batch_size, self.examples
        own = list(own_share(self.accelerator, range(size)))
        sample, window = (of[own] for of in lessons.draw(size, self.seed, self.step))
        x_0, eps, t = lessons.x_0[sample, window], lessons.eps[sample, window], lessons.t[window]
        mirrored, chance = torch.zeros(len(own), dtype=torch.bool), torch.zeros(len(own), 2)
        return self._parts((x_0, eps, t, sample, mirrored, chance))


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

    Raises `KeyboardInterrupt` after the step in which `stop()` turned true, with the state
    saved, and `NonFiniteLossError` with the last good state kept.
    """
    check_batch(config.training, accelerator.num_processes)
    main, identity = accelerator.is_main_process, teacher.identity(config)
    with run.held() if main else nullcontext():
        with others_wait(accelerator):
            if main:
                run.begin(teacher.run.config(), identity, clear=clear)
                keep_adapted(teacher.run, run)
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
        if main and not run.lessons.exists():
            yield from draw_lessons(
                load_adapted(teacher.run, source), source, config, accelerator, run.lessons
            )
    student = _student_config(teacher.run.config(), config)
    training = WindowTraining(
        build_student(load_adapted(teacher.run, source), student, config.sampler),
        load_lessons(run.lessons, source, config),
        config.training,
        accelerator,
        seed=config.seed,
        objective=WindowObjective(),
    )
    identity = teacher.identity(config)
    folder = StudentFolder(run, training, source, identity, student, teacher.run)
    yield from begin(folder)
    with others_wait(accelerator):
        if main:
            folder.cut()
    for record in training.steps():
        if main:
            folder.log(record)
        yield record
        yield from keep(folder, None, [], stop)
    with others_wait(accelerator):
        if main:
            folder.finish(None)


def _student_config(adapted: AdaptConfig, config: DistillConfig) -> AdaptConfig:
    return replace(config.student(adapted), preview=PREVIEW)


def default_student_folder(run: Run, steps: int) -> Path:
    """Where a student goes that was given no place: beside the run that it is distilled from."""
    return run.folder.with_name(f"{run.folder.resolve().name}-{steps}-steps")
