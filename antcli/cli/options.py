"""Option types that several commands share."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from antcli.errors import AntError

SourceOption = Annotated[
    str,
    typer.Option(
        "--source",
        help="The pretrained model: a name (`ant fetch-source` lists them), a diffusers folder "
        "or a hub id.",
    ),
]
TargetOption = Annotated[
    Path, typer.Option("--target", help="Folder with the few images of the new domain.")
]
ClassLabelOption = Annotated[
    int | None,
    typer.Option(min=0, help="Which class, of a source that makes images of several."),
]
PromptOption = Annotated[
    str | None,
    typer.Option(help="What a source that is conditional on text is asked for.", show_default="''"),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance-scale",
        min=0,
        help="Of classifier-free guidance in samples for a prompt; 1: none.",
        show_default="the source's, 7.5 for Stable Diffusion",
    ),
]
ConditionOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|NAME=NUMBER,...",
        help="Of a run of several conditions: `hats`; `glasses=0.5,hats=0.5`, a mixture; "
        "`age=0.7`, where they are numbers; `3`, the third image's, where each is one.",
        show_default="those of the run in turn",
    ),
]
SourceImagesOption = Annotated[
    Path | None,
    typer.Option(
        help="Images of the source's domain for the classifier; without, the source model "
        "draws them itself."
    ),
]
RunArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN]", help="Folder of a finished run; the latest one by default."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="All randomness follows from it.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def naming_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command in whose errors the engine's settings, in backticks, are its own options."""
    names = inspect.signature(command).parameters

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except AntError as error:
            told = with_options(error.message, names), with_options(error.hint, names)
            raise AntError(*told, exit_code=error.exit_code) from error

    return run


def with_options(text: str, names: Iterable[str]) -> str:
    """A line of the engine in which settings of these names are the options that they are here."""
    return re.sub(f"`({'|'.join(names)})`", lambda found: "--" + found[1].replace("_", "-"), text)


def typed(**options: Any) -> dict[str, Any]:
    """The options that were typed: the others leave the preset's and the file's settings."""
    return {name: value for name, value in options.items() if value is not None}
