"""`ant export`: a run for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from antcli.cli.console import result, say
from antcli.cli.options import DeviceOption, RunArgument, naming_options


@naming_options
def export_command(
    run: RunArgument = None,
    format: Annotated[
        Literal["diffusers", "lora", "kohya"],
        typer.Option(
            help="`diffusers`: a whole pipeline that `from_pretrained` opens. Of low-rank "
            "additions to a network conditional on text, `lora`: what diffusers' "
            "`load_lora_weights` reads; `kohya`: what ComfyUI and A1111 read."
        ),
    ] = "diffusers",
    out: Annotated[
        Path | None,
        typer.Option(metavar="PLACE", help="The folder.", show_default="RUN/exports/FORMAT"),
    ] = None,
    ungated: Annotated[
        bool,
        typer.Option(
            "--ungated",
            help="Leave out the limit in t above which the source predicts alone: no such file "
            "can say it.",
        ),
    ] = False,
    condition: Annotated[
        str,
        typer.Option(
            metavar="NAME|NAME=NUMBER,...",
            help="Of a run of several conditions, of which an export holds one: `hats`; "
            "`glasses=0.5,hats=0.5`, a mixture; `age=0.7`, where they are numbers.",
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Write a run as files of other programs, with a model card."""
    from antcli.exporting.export import export_run
    from antcli.runs.latest import find_run

    done = export_run(
        find_run(run),
        format,
        out,
        ungated=ungated,
        force=force,
        device=device,
        condition=condition,
    )
    for remark in done.remarks:
        say(f"note: {remark}")
    if done.change is not None:
        say(f"note: the limit, {done.change.limit}, is left out: {done.change.told}")
    result(str(done.folder))
    say(f"{done.folder / 'README.md'} says what it is and how to use it")
