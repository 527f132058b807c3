"""`ant distill`: a run that draws its images in a few evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from antcli.cli.console import say
from antcli.cli.options import DeviceOption, RunArgument, SeedOption, naming_options, typed
from antcli.cli.work import work_in
from antcli.errors import AntError
from antcli.methods.table import CHOICES


@naming_options
def distill_command(
    run: RunArgument = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, max=50, help="Network passes an image, of what comes out.", show_default="4"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Folder of the new run.", show_default="RUN-4-steps"),
    ] = None,
    towards: Annotated[
        Literal["windows", "distribution", "critic"],
        typer.Option(
            help="`windows`: where the run itself comes to in each step's part of its way. "
            "`distribution`: its distribution, too, by the score of the student's own images; "
            "three times as long. `critic`: what was distilled goes on with both networks' scores "
            "and a critic of the target's images, noise before it (Uni-DAD, Diffusion-GAN)."
        ),
    ] = "windows",
    train: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=lambda: list(CHOICES["trains"]),
            help=f"What trains, over what was adapted: {', '.join(CHOICES['trains'])}.",
            show_default="lora",
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=1, help="Samples of the run that its student learns from.", show_default="192"
        ),
    ] = None,
    train_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps.", show_default="300; with a critic 100"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Examples a step.", show_default="32; with a critic 10"),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Of them at a time; less memory.", show_default="all"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Of AdamW, after the warm-up.", show_default="0.001; with a critic 0.0002"
        ),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    force: Annotated[bool, typer.Option(help="Start over a run that is there already.")] = False,
) -> None:
    """Teach a run to draw its images in a few evaluations; it needs no images, only the run.

    What comes out is a run like any other. The same command again resumes an unfinished one.
    """
    training = typed(steps=train_steps, batch_size=batch_size, learning_rate=learning_rate)
    said: dict[str, Any] = {"seed": seed, "training": training}
    of_student = typed(steps=steps, trains=train, images=images)
    if towards != "critic":
        training |= typed(micro_batch=micro_batch)
        said |= {"towards": towards, "device": device, **of_student}
        _from_windows(run, out, said, force=force)
    elif of_student or micro_batch is not None:
        raise AntError(
            "a critic goes on with a student as it was made, and sees its batches whole",
            "leave `steps`, `train`, `images` and `micro_batch` out",
            exit_code=2,
        )
    else:
        _with_critic(run, out, said, device, force=force)


def _from_windows(
    run: Path | None, out: Path | None, said: Mapping[str, Any], *, force: bool
) -> None:
    """A student of a run."""
    from antcli.devices import make_accelerator
    from antcli.distilling.distillation import check_teacher, default_student_folder, distill
    from antcli.distilling.settings import AS_WELL, distill_config_from
    from antcli.runs.latest import find_run
    from antcli.runs.run import Run

    config = distill_config_from(said)
    teacher = check_teacher(find_run(run))
    student = Run(out or default_student_folder(teacher.run, config.steps))
    if not force:
        student.check_can_start(teacher.run.config(), teacher.identity(config))
    say(f"distilling {teacher.run.folder} to {config.steps} steps")
    if config.steps >= AS_WELL:
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


def _with_critic(
    run: Path | None,
    out: Path | None,
    said: Mapping[str, Any],
    device: str,
    *,
    force: bool,
) -> None:
    """What a student becomes that goes on."""
    from antcli.devices import make_accelerator
    from antcli.distilling.refining import (
        check_student,
        default_refined_folder,
        refine,
        refine_config_from,
    )
    from antcli.runs.latest import find_run
    from antcli.runs.run import Run

    config, student = refine_config_from(said), check_student(find_run(run))
    refined = Run(out or default_refined_folder(student.run))
    if not force:
        refined.check_can_start(student.run.config(), student.identity(config))
    say(f"going on with {student.run.folder}, with a critic of {len(student.target.paths)} images")
    say("note: what that is worth has not been measured; look at the pages of both")
    accelerator = make_accelerator(device, "no")
    work_in(
        refined,
        accelerator,
        lambda stop: refine(student, config, refined, accelerator, stop, clear=force),
        config.training.steps,
        "distilling",
        less_memory="--device cpu",
    )
