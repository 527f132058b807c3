"""One adaptation from beginning to end, as a stream of records; it fills the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from antcli.config import AdaptConfig
from antcli.evaluation.scoring import Scorer
from antcli.evaluation.stopping import Choice, Score, choose, is_over, write_scores
from antcli.methods.build import build_network, noise_rule, target_rule
from antcli.methods.classifier import Classifier
from antcli.methods.table import METHODS
from antcli.runs import Run
from antcli.training.classifier import ClassifierReport, ClassifierStep, load_classifier
from antcli.training.folder import RunFolder
from antcli.training.inputs import Inputs, SourceSamples, encode, train_classifier
from antcli.training.loop import StepRecord, Training, check_batch


@dataclass(frozen=True)
class Resumed:
    """The run goes on after this step."""

    step: int


@dataclass(frozen=True)
class Preview:
    """A page of samples was written."""

    step: int
    path: Path


Record = (
    SourceSamples
    | ClassifierStep
    | ClassifierReport
    | Resumed
    | StepRecord
    | Preview
    | Score
    | Choice
)


def build_training(
    inputs: Inputs,
    config: AdaptConfig,
    accelerator: Accelerator,
    classifier: Classifier | None,
) -> Training:
    """The training that a method's settings mean, not begun."""
    source, path = inputs.source, inputs.source.path
    images = inputs.target.images
    return Training(
        build_network(source.load(), config, source.convention),
        encode(source, images, accelerator.device),
        config.training,
        accelerator,
        seed=config.seed,
        mirrored=encode(source, images.flip(-1), accelerator.device),
        noise=noise_rule(config, path),
        target=target_rule(config, path, classifier),
    )


def adapt(
    inputs: Inputs,
    config: AdaptConfig,
    run: Run,
    accelerator: Accelerator,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Adapt the source to the target; a run that was cut goes on where it was.

    With `config.stopping.auto` it ends where `is_over` says, at the step that `choose` names.
    Raises `KeyboardInterrupt` after the step in which `stop()` turned true, with the state
    saved, and `NonFiniteLossError` with the last good state kept.
    """
    main = accelerator.is_main_process
    check_batch(config.training, accelerator)
    classifier = yield from _prepare_classifier(inputs, config, run, accelerator)
    training = build_training(inputs, config, accelerator, classifier)
    folder = RunFolder(run, training, inputs, config)
    if main:
        folder.condition()
    if run.state.exists():
        training.load(run.state)
        yield Resumed(training.step)
    elif main:
        folder.preview()
        yield Preview(0, run.preview_at(0))
    scorer = _scorer(inputs, accelerator) if main and config.stopping.auto else None
    scores = folder.cut() if main else []
    if scorer is not None and not scores:
        scores.append(scorer.unadapted)
        yield scores[-1]
    over = config.stopping.auto and _any_process(accelerator, is_over(scores))
    for record in () if over else training.steps():
        if main:
            folder.log(record)
        yield record
        marked = record.step % config.preview.every == 0 or record.step == config.training.steps
        if main and marked:
            folder.checkpoint()
        if scorer is not None and marked:
            with training.averaged():
                scores.append(scorer.score(training.network, record.step))
            write_scores(run.scores, scores)
            yield scores[-1]
        stopping = _any_process(accelerator, stop())
        if main and (marked or stopping):
            folder.state()
        if stopping:
            raise KeyboardInterrupt
        if main and marked:
            folder.preview()
            yield Preview(record.step, run.preview_at(record.step))
        if config.stopping.auto and _any_process(accelerator, marked and is_over(scores)):
            break
    choice = choose(scores) if scores else None
    if main:
        folder.finish(choice)
    if choice is not None:
        yield choice
    accelerator.wait_for_everyone()


def _scorer(inputs: Inputs, accelerator: Accelerator) -> Scorer:
    return Scorer(inputs.source, inputs.target.images, accelerator)


def _prepare_classifier(
    inputs: Inputs, config: AdaptConfig, run: Run, accelerator: Accelerator
) -> Generator[SourceSamples | ClassifierStep | ClassifierReport, None, Classifier | None]:
    """Train the classifier unless the run has one; every process returns the same one."""
    if not METHODS[config.method].needs_classifier:
        return None
    file = inputs.classifier_file or run.classifier
    if accelerator.is_main_process and not file.exists():
        yield from train_classifier(inputs, config, accelerator, file)
    accelerator.wait_for_everyone()
    channels, size, _ = inputs.source.shape
    classifier = load_classifier(file, size, channels)
    return classifier if config.training.low_memory else classifier.to(accelerator.device)


def _any_process(accelerator: Accelerator, flag: bool) -> bool:
    if accelerator.num_processes == 1:
        return flag
    raised = torch.tensor(float(flag), device=accelerator.device)
    return bool(accelerator.reduce(raised, "sum").item())
