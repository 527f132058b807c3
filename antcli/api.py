"""What the commands do, for programs and notebooks: the package shows these as its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from antcli.config import merge
from antcli.devices import make_accelerator
from antcli.distilling.distillation import Record as DistillRecord
from antcli.distilling.distillation import check_teacher, default_student_folder
from antcli.distilling.distillation import distill as distill_through
from antcli.distilling.settings import distill_config_from
from antcli.methods.presets import Preset
from antcli.pipeline import AdaptedPipeline
from antcli.runs.latest import find_run, remember_latest
from antcli.runs.run import Run, default_folder
from antcli.training.adaptation import Record
from antcli.training.adaptation import adapt as run_through
from antcli.training.inputs import check_inputs, settings_for


def adapt(
    source: str,
    target: Path | str,
    out: Path | str | None = None,
    *,
    preset: Preset | None = None,
    classifier_file: Path | None = None,
    source_images: Path | None = None,
    force: bool = False,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Iterator[Record]:
    """Adapt a source to the images in the folder `target`, a record for each piece of work.

    `out` is the folder of the run, runs/SOURCE-TARGET-METHOD by default; a run that was cut goes
    on, with `force` it starts over. `settings` are those of a `--config` file, tables as mappings:
    `method="finetune", training={"steps": 50}`. Nothing is done before the first record is asked
    for but checks, which raise `AntError`.
    """
    said = merge(settings, {"source": str(source), "target": str(target)})
    config, _ = settings_for(said, preset, has_classifier=classifier_file is not None)
    run = Run(Path(out) if out is not None else default_folder(config))
    inputs = check_inputs(config, classifier=classifier_file, source_images=source_images)
    if not force:
        run.check_can_start(config, inputs.identity())

    def records() -> Iterator[Record]:
        accelerator = make_accelerator(config.device, config.mixed_precision)
        yield from run_through(inputs, config, run, accelerator, stop, clear=force)
        if accelerator.is_main_process:
            remember_latest(run)

    return records()


def distill(
    run: Path | str | None = None,
    out: Path | str | None = None,
    *,
    force: bool = False,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Iterator[DistillRecord]:
    """Distil a finished run, or the latest, to few steps, a record for each piece of work.

    `out` is RUN-4-steps by default; a run that was cut goes on, with `force` it starts over.
    `settings` are those of `DistillConfig`: `steps=2, training={"steps": 500}`. Nothing is done
    before the first record is asked for but checks, which raise `AntError`.
    """
    config = distill_config_from(settings)
    teacher = check_teacher(find_run(Path(run) if run is not None else None))
    student = Run(Path(out) if out else default_student_folder(teacher.run, config.steps))
    if not force:
        student.check_can_start(teacher.run.config(), teacher.identity(config))

    def records() -> Iterator[DistillRecord]:
        accelerator = make_accelerator(config.device, config.mixed_precision)
        yield from distill_through(teacher, config, student, accelerator, stop, clear=force)
        if accelerator.is_main_process:
            remember_latest(student)

    return records()


def load(run: Path | str | None = None) -> AdaptedPipeline:
    """A finished run, or the latest, as a pipeline of diffusers, on the CPU.

    `load("my-run").to("cuda")(batch_size=16).images` are the images that `ant sample` draws.
    """
    return AdaptedPipeline.from_run(find_run(Path(run) if run is not None else None))


def evaluate(run: Path | str | None = None, **options: Any) -> dict[str, Any]:
    """The metrics of a run beside its source's, as plain values; see `evaluate_run`."""
    from antcli.evaluation.evaluate import evaluate_run

    return evaluate_run(Path(run) if run is not None else None, **options)
