"""What some methods need before they train: each stage prepares something for their rules."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from antcli.artifacts import load_tensors
from antcli.config import AdaptConfig
from antcli.diffusion.examples import Examples
from antcli.methods.build import stages_of
from antcli.methods.classifier import Classifier
from antcli.methods.counterparts import Counterparts
from antcli.processes import any_process, others_wait
from antcli.runs.run import Run
from antcli.training.classifier_files import load_classifier
from antcli.training.classifier_stage import ClassifierRecord, train_classifier
from antcli.training.counterparts import CounterpartsRecord, load_counterparts, make_counterparts
from antcli.training.inputs import Inputs
from antcli.training.probing import Probed, probe
from antcli.training.source_examples import (
    FisherEstimated,
    draw_source_examples,
    estimate_fisher,
    load_source_examples,
)

StageRecord = ClassifierRecord | CounterpartsRecord | FisherEstimated | Probed
Prepared = Mapping[str, Any]
Stage = Callable[
    [Inputs, AdaptConfig, Run, Accelerator, Prepared], Generator[StageRecord, None, Any]
]
"""Yields records of its work; what it returns is handed to the rules, and to the stages after it,
under its name."""


def made_once(
    accelerator: Accelerator, file: Path, make: Callable[[], Iterator[StageRecord]]
) -> Iterator[StageRecord]:
    """The first process makes a file unless it is there; afterwards every process may read it."""
    with others_wait(accelerator):
        if accelerator.is_main_process and not file.exists():
            yield from make()


def made_by_all(
    accelerator: Accelerator, file: Path, make: Callable[[], Iterator[StageRecord]]
) -> Iterator[StageRecord]:
    """All processes take part in making a file, unless the first one sees it there."""
    if any_process(accelerator, accelerator.is_main_process and not file.exists()):
        yield from make()


def counterparts(
    inputs: Inputs,
    config: AdaptConfig,
    run: Run,
    accelerator: Accelerator,
    prepared: Prepared,
) -> Generator[StageRecord, None, Counterparts]:
    """The source's counterparts of the images."""
    file = run.counterparts
    yield from made_once(
        accelerator, file, lambda: make_counterparts(inputs, config, accelerator, file)
    )
    return load_counterparts(file, inputs.source, accelerator.device)


def classifier(
    inputs: Inputs,
    config: AdaptConfig,
    run: Run,
    accelerator: Accelerator,
    prepared: Prepared,
) -> Generator[StageRecord, None, Classifier]:
    """The noise-aware classifier, trained by all processes unless it was given or is there.

    Where there are counterparts it tells the images from these: whom they show does not set them
    apart, their domain does.
    """
    pairs: Counterparts | None = prepared.get("counterparts")
    file = inputs.classifier_file or run.classifier
    own = None if pairs is None else pairs.examples
    yield from made_by_all(
        accelerator, file, lambda: train_classifier(inputs, config, accelerator, file, own)
    )
    channels, size, _ = inputs.source.shape
    found = load_classifier(file, size, channels)
    return found if config.training.low_memory else found.to(accelerator.device)


def source_examples(
    inputs: Inputs,
    config: AdaptConfig,
    run: Run,
    accelerator: Accelerator,
    prepared: Prepared,
) -> Generator[StageRecord, None, Examples]:
    """Samples that the source draws of itself."""
    file = run.source_examples
    yield from made_once(
        accelerator, file, lambda: draw_source_examples(inputs, config, accelerator, file)
    )
    return load_source_examples(file, inputs.source, accelerator.device)


def fisher(
    inputs: Inputs,
    config: AdaptConfig,
    run: Run,
    accelerator: Accelerator,
    prepared: Prepared,
) -> Generator[StageRecord, None, Mapping[str, Tensor]]:
    """How much the source's samples depend on each weight that trains."""
    file = run.fisher
    yield from made_once(
        accelerator, file, lambda: estimate_fisher(inputs, config, accelerator, file, prepared)
    )
    return {name: tensor.to(accelerator.device) for name, tensor in load_tensors(file).items()}


def modulated(
    inputs: Inputs,
    config: AdaptConfig,
    run: Run,
    accelerator: Accelerator,
    prepared: Prepared,
) -> Generator[StageRecord, None, Mapping[str, Tensor]]:
    """Which filters matter to the target: all processes probe, unless that is known."""
    file = run.modulated
    yield from made_by_all(
        accelerator, file, lambda: probe(inputs, config, accelerator, file, prepared)
    )
    return load_tensors(file)


STAGES: dict[str, Stage] = {
    "counterparts": counterparts,
    "classifier": classifier,
    "source_examples": source_examples,
    "fisher": fisher,
    "modulated": modulated,
}


def prepare(
    inputs: Inputs, config: AdaptConfig, run: Run, accelerator: Accelerator
) -> Generator[StageRecord, None, Prepared]:
    """What the stages of the settings' method give, by their names."""
    prepared: dict[str, Any] = {}
    for name in stages_of(config):
        prepared[name] = yield from STAGES[name](inputs, config, run, accelerator, prepared)
    return prepared
