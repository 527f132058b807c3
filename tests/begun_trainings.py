"""Trainings of tiny networks whose stages are done."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from antcli.config import AdaptConfig, adapt_config_from
from antcli.runs.run import Run
from antcli.training.adaptation import build_training
from antcli.training.inputs import check_inputs
from antcli.training.loop import Training
from antcli.training.stages import prepare

FEW: dict[str, Any] = {
    "training": {"steps": 3, "batch_size": 4},
    "noise": {"inner_steps": 3},
    "adaptor": {"t_limit": 0.6},
    "finetune": {"t_limit": 0.6},
    "classifier": {"steps": 1, "source_samples": 5, "sampling_steps": 1},
    "counterparts": {"draws": 2, "steps": 1, "noise": 0.4},
    "source_examples": {"count": 4, "steps": 1},
    "modulation": {"probe_steps": 1, "probe_draws": 1},
    "ewc": {"draws": 1},
    "score": {"start": 0},
}


def few_steps(method: str, source: Path, target: Path) -> AdaptConfig:
    """Of each of a method's stages as little as there can be."""
    names = {"source": str(source), "target": str(target), "method": method}
    known = asdict(adapt_config_from(names))
    return adapt_config_from(names, {k: v for k, v in FEW.items() if k in known})


def begun(config: AdaptConfig, folder: Path, accelerator: Accelerator) -> Training:
    """The training of a run on a device; its stages write into the run, unless it has them."""
    inputs = check_inputs(config)
    stages = prepare(inputs, config, Run(folder), accelerator)
    while True:
        try:
            next(stages)
        except StopIteration as end:
            return build_training(inputs, config, accelerator, end.value)
