"""`ant train-classifier`: the noise-aware classifier on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antcli.cli.console import json_result, result, say
from antcli.cli.fetch_source import have_source
from antcli.cli.options import (
    ClassLabelOption,
    DeviceOption,
    JsonOption,
    PromptOption,
    SeedOption,
    SourceImagesOption,
    SourceOption,
    TargetOption,
    naming_options,
    typed,
)
from antcli.errors import AntError, quoted


@naming_options
def train_classifier_command(
    source: SourceOption,
    target: TargetOption,
    source_images: SourceImagesOption = None,
    out: Annotated[Path, typer.Option(help="Where to write it.")] = Path("classifier.safetensors"),
    init: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="Go on from a noisy ImageNet classifier: imagenet-64, imagenet-256 or its file, "
            "for sources of that size. Without, a small classifier begins from nothing.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps."),
    ] = None,
    class_label: ClassLabelOption = None,
    prompt: PromptOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    force: Annotated[bool, typer.Option(help="Overwrite the file if it exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train the classifier that tells noised source images from noised target images.

    `ant adapt --method ant` does this by itself; give the file to it with `--classifier` to use it
    again.
    """
    from antcli.artifacts import check_writable
    from antcli.cli.progress import fetching, follow
    from antcli.config import adapt_config_from
    from antcli.devices import make_accelerator
    from antcli.training.classifier_stage import train_classifier
    from antcli.training.inputs import check_inputs

    given = {"classifier": typed(init=init, steps=steps)}
    base = {"source": source, "target": str(target), "seed": seed, "device": device}
    # The classifier is ANT's: the default method has none.
    asked = {"method": "ant", "condition": typed(class_label=class_label, prompt=prompt)}
    config = adapt_config_from(base, given, asked)
    if out.is_file() and not force:
        raise AntError(f"{out} exists", "choose another --out, or overwrite it with --force")
    check_writable(out)
    have_source(source, target)
    with fetching() as show:
        inputs = check_inputs(config, source_images=source_images, on_progress=show)
    for note in inputs.target.notes:
        say(f"note: {note}")
    records = train_classifier(inputs, config, make_accelerator(device, "auto"), out)
    report = follow(records, config.training.steps)
    if report is None:  # this is not the first process
        return
    if as_json:
        json_result({"file": str(out), **report.as_dict()})
        return
    result(str(out))
    inputs_named = f"--source {quoted(source)} --target {quoted(target)}"
    say(f"next: ant adapt {inputs_named} --method ant --classifier {quoted(out)}")
