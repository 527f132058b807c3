"""One adaptation from beginning to end, as a stream of records; it fills the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from antcli.config import AdaptConfig
from antcli.evaluation.scoring import Scorer
from antcli.evaluation.stopping import ChosenStep, Score, choose, is_over, write_scores
from antcli.methods.build import (
    build_objective,
    check_whole_batches,
    choices_of,
)
from antcli.runs import Run
from antcli.training.folder import RunFolder
from antcli.training.inputs import Inputs, examples_of, network_of
from antcli.training.loop import StepRecord, Training, check_batch
from antcli.training.stages import StageRecord, any_process, prepare


@dataclass(frozen=True)
class Resumed:
    """The run goes on after this step."""

    step: int


@dataclass(frozen=True)
class Preview:
    """A page of samples was written."""

    step: int
    path: Path


Record = StageRecord | Resumed | StepRecord | Preview | Score | ChosenStep


def build_training(
    inputs: Inputs,
    config: AdaptConfig,
    accelerator: Accelerator,
    prepared: Mapping[str, Any],
) -> Training:
    """The training that a method's settings mean, not begun; `prepared` is what its stages gave."""
    network = network_of(inputs, config, prepared)
    if any(choice.asks_source for choice in choices_of(config)):
        network.keep_source()
    network.take_prepared(prepared)
    return Training(
        network,
        examples_of(inputs.source, inputs.target.images, accelerator.device),
        config.training,
        accelerator,
        seed=config.seed,
        objective=build_objective(config, prepared),
    )


def adapt(
    inputs: Inputs,
    config: AdaptConfig,
    run: Run,
    accelerator: Accelerator,
    stop: Callable[[], bool] = lambda: False,
    *,
    clear: bool = False,
) -> Iterator[Record]:
    """Adapt the source to the target; a run that was cut goes on where it was, unless `clear`.

    With `config.stopping.auto` it ends where `is_over` says, unless its rate settles, at the step
    that `choose` names.
    Raises `KeyboardInterrupt` after the step in which `stop()` turned true, with the state
    saved, and `NonFiniteLossError` with the last good state kept.
    """
    main = accelerator.is_main_process
    check_batch(config.training, accelerator)
    check_whole_batches(config, accelerator.num_processes)
    accelerator.wait_for_everyone()
    if main:
        run.begin(config, inputs.identity(), clear=clear)
    accelerator.wait_for_everyone()
    prepared = yield from prepare(inputs, config, run, accelerator)
    training = build_training(inputs, config, accelerator, prepared)
    folder = RunFolder(run, training, inputs, config)
    yield from _begin(folder)
    scorer = None
    if main and config.stopping.auto:
        scorer = Scorer(inputs.source, inputs.target.images, accelerator)
    scores = folder.cut() if main else []
    if scorer is not None and not scores:
        scores.append(scorer.unadapted)
        yield scores[-1]
    may_end = config.stopping.auto and not config.training.settles
    over = may_end and any_process(accelerator, is_over(scores))
    for record in () if over else training.steps():
        if main:
            folder.log(record)
        yield record
        yield from _keep(folder, scorer, scores, stop)
        if may_end and any_process(accelerator, is_over(scores)):
            break
    choice = choose(scores) if scores else None
    if main:
        folder.finish(choice)
    if choice is not None:
        yield choice
    accelerator.wait_for_everyone()


def _begin(folder: RunFolder) -> Iterator[Record]:
    """Go on from the state that a run left, or show what the source draws."""
    run, training = folder.run, folder.training
    main = training.accelerator.is_main_process
    if main:
        folder.condition()
    if any_process(training.accelerator, main and run.state.exists()):
        training.load(run.state)
        yield Resumed(training.step)
    elif main:
        folder.preview()
        yield Preview(0, run.preview_at(0))


def _keep(
    folder: RunFolder, scorer: Scorer | None, scores: list[Score], stop: Callable[[], bool]
) -> Iterator[Record]:
    """What follows a step: at intervals a checkpoint, its score, a state and a page.

    Raises `KeyboardInterrupt`, the state saved, where some process is asked to stop.
    """
    run, training, config = folder.run, folder.training, folder.config
    main, step = training.accelerator.is_main_process, training.step
    marked = step % config.preview.every == 0 or step == config.training.steps
    if main and marked:
        folder.checkpoint()
    if scorer is not None and marked:
        with training.averaged():
            scores.append(scorer.score(training.network, step))
        write_scores(run.scores, scores)
        yield scores[-1]
    if main and marked:
        folder.rotate(scores)
    stopping = any_process(training.accelerator, stop())
    if main and (marked or stopping):
        folder.state()
    if stopping:
        raise KeyboardInterrupt
    if main and marked:
        folder.preview()
        yield Preview(step, run.preview_at(step))
