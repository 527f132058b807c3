"""`ant distill`: a run that draws its images in a few evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from antcli.cli.console import say
from antcli.cli.options import DeviceOption, RunArgument, SeedOption, naming_options, typed
from antcli.cli.work import work_in
from antcli.methods.table import CHOICES


@naming_options
def distill_command(
    run: RunArgument = None,
    steps: Annotated[
        int, typer.Option(min=1, max=50, help="Network passes an image, of what comes out.")
    ] = 4,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Folder of the new run.", show_default="RUN-4-steps"),
    ] = None,
    towards: Annotated[
        Literal["windows", "distribution"],
        typer.Option(
            help="`windows`: where the run itself comes to in each step's part of its way. "
            "`distribution`: its distribution, too, by the score of the student's own images; "
            "three times as long."
        ),
    ] = "windows",
    train: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=lambda: list(CHOICES["trains"]),
            help=f"What trains, over what was adapted: {', '.join(CHOICES['trains'])}.",
        ),
    ] = "lora",
    images: Annotated[
        int | None,
        typer.Option(
            min=1, help="Samples of the run that its student learns from.", show_default="192"
        ),
    ] = None,
    train_steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps.", show_default="300")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Examples a step.", show_default="32")
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Of them at a time; less memory.", show_default="all"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of AdamW, after the warm-up.", show_default="0.001")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    force: Annotated[bool, typer.Option(help="Start over a run that is there already.")] = False,
) -> None:
    """Teach a run to draw its images in a few evaluations; it needs no images, only the run.

    What comes out is a run like any other. The same command again resumes an unfinished one.
    """
    from antcli.devices import make_accelerator
    from antcli.distilling.distillation import check_teacher, default_student_folder, distill
    from antcli.distilling.settings import AS_WELL, distill_config_from
    from antcli.runs import Run, find_run

    training = typed(steps=train_steps, batch_size=batch_size)
    training |= typed(micro_batch=micro_batch, learning_rate=learning_rate)
    said = {"steps": steps, "towards": towards, "trains": train, "seed": seed, "device": device}
    config = distill_config_from({**said, **typed(images=images), "training": training})
    teacher = check_teacher(find_run(run))
    student = Run(out or default_student_folder(teacher.run, steps))
    if not force:
        student.check_can_start(teacher.run.config(), teacher.identity(config))
    say(f"distilling {teacher.run.folder} to {steps} steps")
    if steps >= AS_WELL:
        say(f"note: in {AS_WELL} steps dpm++ draws as well as in 25, without being distilled")
    accelerator = make_accelerator(config.device, config.mixed_precision)
    work_in(
        student,
        accelerator,
        lambda stop: distill(teacher, config, student, accelerator, stop, clear=force),
        config.training.steps,
        "distilling",
        less_memory="a smaller --micro-batch",
    )
