"""What some methods need before they train: each stage prepares something for their rules."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import torch
from accelerate import Accelerator

from antcli.config import AdaptConfig
from antcli.methods.build import stages_of
from antcli.methods.classifier import Classifier
from antcli.runs import Run
from antcli.training.classifier_files import load_classifier
from antcli.training.inputs import ClassifierRecord, Inputs, train_classifier

Stage = Callable[[Inputs, AdaptConfig, Run, Accelerator], Generator[ClassifierRecord, None, Any]]
"""Yields records of its work; what it returns is handed to the rules under its name."""


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether a flag is up in some process; all of them are told the same."""
    if accelerator.num_processes == 1:
        return flag
    raised = torch.tensor(float(flag), device=accelerator.device)
    return bool(accelerator.reduce(raised, "sum").item())


def classifier(
    inputs: Inputs, config: AdaptConfig, run: Run, accelerator: Accelerator
) -> Generator[ClassifierRecord, None, Classifier]:
    """The noise-aware classifier: the first process trains it unless it was given or is there."""
    file = inputs.classifier_file or run.classifier
    if accelerator.is_main_process and not file.exists():
        yield from train_classifier(inputs, config, accelerator, file)
    accelerator.wait_for_everyone()
    channels, size, _ = inputs.source.shape
    found = load_classifier(file, size, channels)
    return found if config.training.low_memory else found.to(accelerator.device)


STAGES: dict[str, Stage] = {
    "classifier": classifier,
}


def prepare(
    inputs: Inputs, config: AdaptConfig, run: Run, accelerator: Accelerator
) -> Generator[ClassifierRecord, None, Mapping[str, Any]]:
    """What the stages of the settings' method give, by their names."""
    prepared = {}
    for name in stages_of(config):
        prepared[name] = yield from STAGES[name](inputs, config, run, accelerator)
    return prepared
