"""One adaptation from beginning to end, as a stream of records; it fills the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
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
    faster_than_all,
)
from antcli.processes import any_process, first_decides, others_wait
from antcli.runs.run import Run
from antcli.training.folder import RunFolder
from antcli.training.inputs import Inputs, network_of
from antcli.training.loop import StepRecord, Training, check_batch
from antcli.training.source_samples import examples_of
from antcli.training.stages import StageRecord, prepare


@dataclass(frozen=True)
class Resumed:
    """The run goes on after this step."""

    step: int
    damaged: tuple[Path, ...] = ()
    """Newer states that were not whole, and are removed."""


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
    # Mirrored, an image is another one: half a face would be painted on either side.
    flip = config.training.flip and not network.images
    return Training(
        network,
        examples_of(inputs.source, inputs.target.images, accelerator.device, flip=flip),
        replace(config.training, flip=flip),
        accelerator,
        seed=config.seed,
        objective=build_objective(config, prepared),
        conditions=inputs.labels(network),
        faster=faster_than_all(config),
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
    check_batch(config.training, accelerator.num_processes)
    check_whole_batches(config, accelerator.num_processes)
    main = accelerator.is_main_process
    with run.held() if main else nullcontext():
        with others_wait(accelerator):
            if main:
                run.begin(config, inputs.identity(), clear=clear)
        yield from _work(inputs, config, run, accelerator, stop)


def _work(
    inputs: Inputs,
    config: AdaptConfig,
    run: Run,
    accelerator: Accelerator,
    stop: Callable[[], bool],
) -> Iterator[Record]:
    """All that is done in the run's folder."""
    main = accelerator.is_main_process
    prepared = yield from prepare(inputs, config, run, accelerator)
    training = build_training(inputs, config, accelerator, prepared)
    known = inputs.shown(training.network)
    folder = RunFolder(run, training, inputs.source, inputs.identity(), config, known)
    yield from begin(folder)
    scorer: Scorer | None = None
    scores: list[Score] = []
    with others_wait(accelerator):
        if main:
            scores = folder.cut()
        if main and config.stopping.auto:
            scorer = Scorer(inputs.source, inputs.target.images, accelerator, known)
            if not scores:
                scores.append(scorer.unadapted)
                yield scores[-1]
    may_end = config.stopping.auto and not config.training.settles
    over = may_end and any_process(accelerator, is_over(scores))
    for record in () if over else training.steps():
        if main:
            folder.log(record)
        yield record
        yield from keep(folder, scorer, scores, stop)
        if may_end and any_process(accelerator, is_over(scores)):
            break
    choice = choose(scores, config.training.settles) if scores else None
    with others_wait(accelerator):
        if main:
            folder.finish(choice)
    if choice is not None:
        yield choice


def begin(folder: RunFolder) -> Iterator[Resumed | Preview]:
    """Go on from the state that a run left, or show what the source draws."""
    run, training = folder.run, folder.training
    main, accelerator = training.accelerator.is_main_process, training.accelerator
    states = (run.state, run.state_before)
    damaged: tuple[Path, ...] = ()
    with others_wait(accelerator):
        if main:
            folder.condition()
            damaged = folder.remove_damaged()
    newest = next((i for i, state in enumerate(states) if state.exists()), len(states))
    newest = first_decides(accelerator, newest)
    if newest < len(states):
        training.load(states[newest])
    if newest < len(states) or damaged:
        yield Resumed(training.step, damaged)
    with others_wait(accelerator):
        page = run.preview_at(training.step)
        if main and folder.marked and not page.exists():
            folder.preview()
            yield Preview(training.step, page)


def keep(
    folder: RunFolder, scorer: Scorer | None, scores: list[Score], stop: Callable[[], bool]
) -> Iterator[Preview | Score]:
    """What follows a step: at intervals a checkpoint, its score, a state and a page.

    Raises `KeyboardInterrupt`, the state saved, where some process is asked to stop.
    """
    run, training, marked = folder.run, folder.training, folder.marked
    main, step = training.accelerator.is_main_process, training.step
    stopping = any_process(training.accelerator, stop())
    if not marked and not stopping:
        return
    with others_wait(training.accelerator):
        if main and marked:
            folder.checkpoint()
        if scorer is not None and marked:
            with training.averaged():
                scores.append(scorer.score(training.network, step))
            write_scores(run.scores, scores)
        if main:
            folder.state()
            folder.rotate(scores)
        if scorer is not None and marked:  # what is yielded may be the last that is asked for
            yield scores[-1]
        if main and marked and not stopping:
            folder.preview()
            yield Preview(step, run.preview_at(step))
    if stopping:
        raise KeyboardInterrupt
