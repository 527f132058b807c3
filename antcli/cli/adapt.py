"""`ant adapt`: the main job."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from antcli.cli.console import complain, result, say
from antcli.cli.fetch_source import have_source
from antcli.cli.options import (
    ClassLabelOption,
    PromptOption,
    SourceImagesOption,
    SourceOption,
    TargetOption,
    typed,
)

if TYPE_CHECKING:
    from antcli.config import AdaptConfig
    from antcli.runs import Run
    from antcli.training.adaptation import Record
    from antcli.training.inputs import Inputs


AUTO = "auto"


def adapt_command(
    source: SourceOption,
    target: TargetOption,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Folder of the run. [default: runs/SOURCE-TARGET-METHOD]"),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Training steps. More is not better: few images overfit. `auto` scores the "
            "samples while it trains, stops, and takes the best step.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images a step, over all processes."),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images at a time; less memory, same result. [default: all]"),
    ] = None,
    low_memory: Annotated[
        bool | None,
        typer.Option(
            "--low-memory",
            help="For large sources on small cards: recompute maps instead of keeping them "
            "(gradient checkpointing), one image at a time, the classifier on the device only "
            "while it is asked. Slower, same result.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Of AdamW, after the warm-up."),
    ] = None,
    method: Annotated[
        Literal[
            "ant", "adaptor", "adaptor-guided", "adaptor-adversarial", "full", "lora", "ant-lora"
        ]
        | None,
        typer.Option(help="What is trained, and how. [default: ant]"),
    ] = None,
    preset: Annotated[
        Literal["paper"] | None,
        typer.Option(help="`paper`: the settings of the ANT paper instead of the defaults."),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="From `ant train-classifier`; else one is trained."),
    ] = None,
    source_images: SourceImagesOption = None,
    class_label: ClassLabelOption = None,
    prompt: PromptOption = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Settings; `--dry-run` prints all of them."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="All randomness follows from it. [default: 0]"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda, cuda:N or mps. [default: auto]"),
    ] = None,
    mixed_precision: Annotated[
        Literal["auto", "no", "fp16", "bf16"] | None,
        typer.Option(help="Of the network's passes. [default: auto]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, do nothing.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Start over a run that is there already.")] = False,
) -> None:
    """Adapt a pretrained source to the domain of a few images.

    The same command again resumes an unfinished run.

    Example: `ant adapt --source avatars --target examples/10shots/sunglasses`
    """
    from antcli.cli.progress import fetching
    from antcli.config import adapt_config_from, read_toml
    from antcli.runs import Run, default_folder
    from antcli.training.inputs import check_inputs, defaults_for, preset_for

    have_source(source, target)
    flags = {
        **typed(method=method, seed=seed, device=device, mixed_precision=mixed_precision),
        "source": source,
        "target": str(target),
        "training": typed(
            steps=_steps(steps),
            batch_size=batch_size,
            micro_batch=micro_batch,
            low_memory=low_memory,
            learning_rate=learning_rate,
        ),
        "condition": typed(class_label=class_label, prompt=prompt),
        "stopping": typed(auto=None if steps is None else steps == AUTO),
    }
    layers = [defaults_for(source), preset_for(preset, source) if preset else {}]
    layers += [read_toml(config) if config else {}, flags]
    settings = adapt_config_from(*layers)
    run = Run(out or default_folder(settings))
    with fetching() as show:
        inputs = check_inputs(
            settings, classifier=classifier, source_images=source_images, on_progress=show
        )
    for note in inputs.target.notes:
        say(f"note: {note}")
    if dry_run:
        _show_plan(settings, run, inputs)
        return
    if not force:
        run.check_can_start(settings, inputs.identity())
    _adapt(settings, run, inputs, force)


def _steps(steps: str | None) -> int | None:
    """The steps at most; `auto` has room to find its own end."""
    from antcli.config import MOST_STEPS

    if steps is None or steps == AUTO:
        return None if steps is None else MOST_STEPS
    if not steps.isdecimal() or int(steps) < 1:
        message = f"{steps!r} is neither a number from 1 on nor auto"
        raise typer.BadParameter(message, param_hint="--steps")
    return int(steps)


def _adapt(settings: AdaptConfig, run: Run, inputs: Inputs, force: bool) -> None:
    import torch

    from antcli.cli.progress import follow
    from antcli.errors import AntError
    from antcli.runs import remember_latest
    from antcli.training.adaptation import adapt
    from antcli.training.devices import make_accelerator
    from antcli.training.loop import NonFiniteLossError

    accelerator = make_accelerator(settings.device, settings.mixed_precision)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        run.begin(settings, inputs.identity(), clear=force)
    accelerator.wait_for_everyone()
    try:
        with _asked_to_stop() as stop:
            records = adapt(inputs, settings, run, accelerator, lambda: bool(stop))
            follow(_interruptible(records, stop), settings.training.steps)
    except NonFiniteLossError as error:
        kept = f"; the last good state is {run.state}" if run.state.exists() else ""
        raise AntError(
            f"{error}: the run stopped{kept}",
            "start it again with a lower --learning-rate, and --force or another --out",
        ) from error
    except torch.OutOfMemoryError as error:
        raise AntError(
            f"the memory of {accelerator.device} does not suffice",
            "type the same command with --low-memory or a smaller --micro-batch: the run goes on, "
            "and the result is the same",
        ) from error
    except KeyboardInterrupt:
        complain("interrupted", "type the same command again to go on")
        raise
    if not accelerator.is_main_process:
        return
    remember_latest(run)
    result(str(run.preview))
    say(
        f"done: look at {run.preview}, then type `ant sample {run.folder}` for more images or "
        f"`ant evaluate intra-lpips {run.folder}` for their diversity"
    )


def _show_plan(settings: AdaptConfig, run: Run, inputs: Inputs) -> None:
    from antcli.config import to_toml
    from antcli.methods.build import evaluations_per_step

    result(to_toml(settings).rstrip())
    images = len(inputs.target.paths)
    views = settings.training.steps * settings.training.batch_size / images
    passes = ", ".join(f"{n} {what}" for what, n in evaluations_per_step(settings).items())
    result(f"# run: {run.folder}")
    result(f"# source: {inputs.source.folder} ({inputs.source.size}x{inputs.source.size})")
    result(f"# target: {images} images, each seen {views:.0f} times")
    result(f"# evaluations per step and image: {passes}")


def _interruptible(records: Iterator[Record], stop: list[int]) -> Iterator[Record]:
    """Stop at once where there is no step to finish and save."""
    from antcli.training.loop import StepRecord

    for record in records:
        yield record
        if stop and not isinstance(record, StepRecord):
            raise KeyboardInterrupt


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Ctrl-C asks the run to stop after its step, which is then saved; twice stops at once."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        say("stopping after this step; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
