"""The options of `ant adapt` that no other command has: each leaves what it does not say alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from antcli.methods.table import CHOICES, METHODS, PURPOSES

SourceOption = Annotated[
    str | None,
    typer.Option(
        help="The pretrained model: a name (`ant fetch-source` lists them), a diffusers folder "
        "or a hub id. A --config file may say it."
    ),
]
TargetOption = Annotated[
    Path | None,
    typer.Option(help="Folder with the few images of the new domain. A --config file may say it."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN", help="Folder of the run.", show_default="runs/SOURCE-TARGET-METHOD"
    ),
]
StepsOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="Training steps. More is not better: few images overfit. `auto` scores the "
        "samples while it trains, stops, and takes the best step.",
    ),
]
BatchOption = Annotated[int | None, typer.Option(min=1, help="Images a step, over all processes.")]
MicroBatchOption = Annotated[
    int | None,
    typer.Option(min=1, help="Images at a time; less memory, same result.", show_default="all"),
]
LowMemoryOption = Annotated[
    bool | None,
    typer.Option(
        "--low-memory",
        help="For large sources on small cards: recompute maps instead of keeping them "
        "(gradient checkpointing), one image at a time, the classifier on the device only "
        "while it is asked. Slower, same result.",
    ),
]
CompileOption = Annotated[
    bool | None,
    typer.Option(
        "--compile",
        help="Compile the network (torch.compile): a minute or more at first, faster steps on a "
        "GPU; for long runs of large sources.",
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(help="Of AdamW, after the warm-up.", show_default="the method's"),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=lambda: list(METHODS),
        help="What is trained, and how: one of those below.",
        show_default="bridge",
    ),
]
METHODS_TOLD = "\n\n".join(
    ["Methods:", *(f"{purpose}: {', '.join(named)}" for purpose, named in PURPOSES.items())]
)
"""By what they are for, below the options."""


def _choice(slot: str, what: str) -> Any:
    """An option that puts one choice in the place of the method's own."""
    return typer.Option(
        metavar="NAME",
        autocompletion=lambda: list(CHOICES[slot]),
        help=f"{what}, in the place of the method's own: {', '.join(CHOICES[slot])}.",
    )


TrainOption = Annotated[str | None, _choice("trains", "What trains")]
NoiseOption = Annotated[str | None, _choice("noise", "Which noise")]
TowardsOption = Annotated[str | None, _choice("target", "What is trained towards")]
AugmentOption = Annotated[str | None, _choice("augmentation", "How images are augmented")]
TrainConditionOption = Annotated[
    bool,
    typer.Option(
        "--train-condition",
        help="Let what a source makes of its classes train, too; without, it is frozen, and new "
        "conditions are embeddings beside it.",
    ),
]
PenaltyOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=WEIGHT",
        help="Added to the loss, as often as wanted: " + ", ".join(CHOICES["penalties"]) + ".",
    ),
]
PresetOption = Annotated[
    Literal["paper"] | None,
    typer.Option(help="`paper`: the settings of the ANT paper instead of the defaults."),
]
ClassifierOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="From `ant train-classifier`; else one is trained."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="Settings; `--dry-run` prints all of them."),
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, help="All randomness follows from it.", show_default="0"),
]
DeviceOption = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default="auto")
]
PrecisionOption = Annotated[
    Literal["auto", "no", "fp16", "bf16"] | None,
    typer.Option(help="Of the network's passes.", show_default="auto"),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--num-processes",
        min=1,
        help="Processes of this machine that share each batch, each with a device of its own; "
        "the result is the same. Several machines: `accelerate launch -m antcli adapt ...`.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, print the plan, do nothing.")
]
ForceOption = Annotated[bool, typer.Option(help="Start over a run that is there already.")]
