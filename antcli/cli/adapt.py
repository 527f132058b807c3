"""`ant adapt`: the main job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from antcli.cli.adapt_options import (
    AugmentOption,
    BatchOption,
    ClassifierOption,
    CompileOption,
    ConfigOption,
    DeviceOption,
    DryRunOption,
    ForceOption,
    LowMemoryOption,
    MethodOption,
    MicroBatchOption,
    NoiseOption,
    OutOption,
    PenaltyOption,
    PrecisionOption,
    PresetOption,
    ProcessesOption,
    RateOption,
    SeedOption,
    SourceOption,
    StepsOption,
    TargetOption,
    TowardsOption,
    TrainConditionOption,
    TrainOption,
)
from antcli.cli.console import LAUNCHED, result, say
from antcli.cli.fetch_source import have_source
from antcli.cli.launch import start_processes
from antcli.cli.options import (
    ClassLabelOption,
    GuidanceOption,
    PromptOption,
    SourceImagesOption,
    naming_options,
    typed,
)
from antcli.cli.progress import fetching
from antcli.cli.work import work_in

if TYPE_CHECKING:
    from antcli.config import AdaptConfig
    from antcli.images.conditions import Conditions
    from antcli.runs.run import Run
    from antcli.training.inputs import Inputs


AUTO = "auto"


@naming_options
def adapt_command(
    source: SourceOption = None,
    target: TargetOption = None,
    out: OutOption = None,
    steps: StepsOption = None,
    batch_size: BatchOption = None,
    micro_batch: MicroBatchOption = None,
    low_memory: LowMemoryOption = None,
    compile: CompileOption = None,
    learning_rate: RateOption = None,
    method: MethodOption = None,
    train: TrainOption = None,
    noise: NoiseOption = None,
    towards: TowardsOption = None,
    augment: AugmentOption = None,
    train_condition: TrainConditionOption = False,
    penalty: PenaltyOption = None,
    preset: PresetOption = None,
    classifier: ClassifierOption = None,
    source_images: SourceImagesOption = None,
    class_label: ClassLabelOption = None,
    prompt: PromptOption = None,
    guidance_scale: GuidanceOption = None,
    config: ConfigOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    mixed_precision: PrecisionOption = None,
    num_processes: ProcessesOption = 1,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
) -> None:
    """Adapt a pretrained source to the domain of a few images.

    The same command again resumes an unfinished run.

    Example: `ant adapt --source avatars --target examples/10shots/sunglasses`
    """
    from antcli.config import label
    from antcli.methods.build import check_whole_batches, stages_of
    from antcli.runs.run import Run, default_folder
    from antcli.training.inputs import check_inputs
    from antcli.training.loop import check_batch

    flags = {
        **typed(source=source, target=target and str(target), method=method, seed=seed),
        **typed(device=device, mixed_precision=mixed_precision),
        "choices": {
            **typed(trains=train, noise=noise, target=towards, augmentation=augment),
            **typed(condition="tuned" if train_condition else None),
        },
        "penalties": _weights(penalty or []),
        "training": typed(
            steps=_number(steps),
            batch_size=batch_size,
            micro_batch=micro_batch,
            low_memory=low_memory,
            compile=compile,
            learning_rate=learning_rate,
        ),
        "condition": typed(class_label=class_label, prompt=prompt, guidance_scale=guidance_scale),
        "stopping": typed(auto=None if steps is None else steps == AUTO),
    }
    settings = _settings(flags, config, preset, has_classifier=classifier is not None)
    run = Run(out or default_folder(settings))
    with fetching() as show:
        inputs = check_inputs(
            settings, classifier=classifier, source_images=source_images, on_progress=show
        )
    if classifier is not None and "classifier" not in stages_of(settings):
        say(f"note: {label(settings)} asks no classifier: {classifier} is not used")
    for note in inputs.target.notes:
        say(f"note: {note}")
    if inputs.conditions is not None:
        say(f"conditions: {_told(inputs.conditions)}")
        if settings.training.flip:
            say(
                "note: mirror images are learnt from, too, under the same conditions, unless each "
                "image becomes one of its own; where left and right matter, put flip = false under "
                "[training] into a --config file"
            )
    if inputs.source.guidance_scale != 1:
        scale = inputs.source.guidance_scale
        say(f"note: samples are drawn with classifier-free guidance of scale {scale:g}")
    if dry_run:
        _show_plan(settings, run, inputs)
    if force:
        run.check_place()
    else:
        run.check_can_start(settings, inputs.identity())
    if num_processes > 1:
        check_batch(settings.training, num_processes)
        check_whole_batches(settings, num_processes)
    if dry_run:
        return
    if num_processes > 1 and not LAUNCHED:
        start_processes(num_processes, settings.device)
        return
    _adapt(settings, run, inputs, force)


def _settings(
    flags: dict[str, Any],
    file: Path | None,
    preset: Literal["paper"] | None,
    *,
    has_classifier: bool,
) -> AdaptConfig:
    """From what the file and the options say, over what is the default of all they leave out.

    What can be told before a source is fetched is told before.
    """
    from antcli.config import MOST_STEPS, adapt_config_from, merge, read_toml
    from antcli.devices import resolve_device
    from antcli.training.inputs import settings_for

    said = merge(read_toml(file) if file else {}, flags)
    missing = [f"--{name}" for name in ("source", "target") if name not in said]
    if missing:
        message = f"say {' and '.join(missing)}, or take a --config file that does"
        raise typer.BadParameter(message, param_hint=missing[0])
    checked = adapt_config_from(said)
    resolve_device(checked.device)
    have_source(checked.source, Path(checked.target))
    with fetching() as show:
        settings, remark = settings_for(said, preset, show, has_classifier=has_classifier)
    if remark:
        say(f"note: {remark}")
    if not flags["stopping"].get("auto") or settings.training.settles:
        return settings
    steps = max(MOST_STEPS, settings.training.steps)
    return replace(settings, training=replace(settings.training, steps=steps))


def _weights(penalties: list[str]) -> dict[str, float]:
    """What was typed as NAME=WEIGHT, by the names of the settings."""
    from antcli.methods.table import setting

    found = {}
    for typed_in in penalties:
        name, _, weight = typed_in.partition("=")
        try:
            found[setting(name)] = float(weight)
        except ValueError:
            message = f"{typed_in!r} is not NAME=WEIGHT, as in pairwise=4"
            raise typer.BadParameter(message, param_hint="--penalty") from None
    return found


def _number(steps: str | None) -> int | None:
    """The steps that were typed as a number."""
    if steps is None or steps == AUTO:
        return None
    if not steps.isdecimal() or int(steps) < 1:
        message = f"{steps!r} is neither a number from 1 on nor auto"
        raise typer.BadParameter(message, param_hint="--steps")
    return int(steps)


def _adapt(settings: AdaptConfig, run: Run, inputs: Inputs, force: bool) -> None:
    from antcli.devices import make_accelerator
    from antcli.methods.build import choices_of
    from antcli.training.adaptation import adapt

    less_memory = "--low-memory or a smaller --micro-batch"
    if any(choice.couples for choice in choices_of(settings)):
        less_memory = f"--low-memory --micro-batch {settings.training.batch_size}"
    accelerator = make_accelerator(settings.device, settings.mixed_precision)
    work_in(
        run,
        accelerator,
        lambda stopped: adapt(inputs, settings, run, accelerator, stopped, clear=force),
        settings.training.steps,
        less_memory=less_memory,
    )


def _show_plan(settings: AdaptConfig, run: Run, inputs: Inputs) -> None:
    from antcli.config import label, method_of, to_toml
    from antcli.methods.build import evaluations_per_step, penalties_of, said_limit, stages_of

    result(to_toml(settings).rstrip())
    images = len(inputs.target.paths)
    views = settings.training.steps * settings.training.batch_size / images
    choices = method_of(settings).choices
    passes = ", ".join(f"{n} {what}" for what, n in evaluations_per_step(settings).items())
    result(f"# run: {run.folder}")
    result(f"# source: {inputs.source.folder} ({inputs.source.size}x{inputs.source.size})")
    result(f"# target: {images} images, each seen {views:g} times")
    result(f"# {label(settings)}: trains {choices['trains'].help}")
    result(f"# on {choices['noise'].help}, towards {choices['target'].help}")
    if "counterparts" in stages_of(settings) and said_limit(settings) is None:
        result("# below a limit in t that is read off the images: the t_limit above is a default")
    if inputs.conditions is not None:
        kept = choices["condition"].help
        result(f"# conditions: {_told(inputs.conditions)}; {kept}")
    result(f"# learns from {choices['augmentation'].help}")
    for weight, penalty in penalties_of(settings):
        result(f"# penalty, {weight:g} times: {penalty.help}")
    result(f"# evaluations per step and image, at most: {passes}")


def _told(conditions: Conditions) -> str:
    """What conditions there are, and how many images have each."""
    each = [conditions.near(condition) for condition in conditions.of_images]
    return ", ".join(f"{name} ({each.count(name)} images)" for name in conditions.shown)
