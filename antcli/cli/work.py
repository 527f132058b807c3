"""A long work of the engine in a run's folder: its records on the screen, its ends as one line."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from antcli.cli.console import LAUNCHED, SIGNALLED, SPEAKS, complain, result, say
from antcli.errors import AntError, quoted

if TYPE_CHECKING:
    from accelerate import Accelerator

    from antcli.cli.progress import Record
    from antcli.runs.run import Run


def work_in(
    run: Run,
    accelerator: Accelerator,
    records: Callable[[Callable[[], bool]], Iterator[Record]],
    steps: int,
    what: str = "adapting",
    *,
    less_memory: str,
) -> None:
    """Show the records of a training of `steps` steps; `records` is told how to ask for its end.

    Raises `AntError` where it fails in a way that a person can mend.
    """
    import torch

    from antcli.cli.progress import follow
    from antcli.runs.adapted import images_apart, may_be_asked
    from antcli.runs.latest import remember_latest
    from antcli.training.part import NonFiniteLossError

    try:
        with _asked_to_stop() as stop:
            follow(_interruptible(records(_stopped(stop)), stop), steps, what)
    except NonFiniteLossError as error:
        kept = f"; the last good state is {run.state}" if run.state.exists() else ""
        raise AntError(
            f"{error}: the run stopped{kept}",
            "start it again with a lower --learning-rate, and --force or another --out",
        ) from error
    except torch.OutOfMemoryError as error:
        raise AntError(
            f"the memory of {accelerator.device} does not suffice",
            f"type the same command with {less_memory}: the run goes on, and the result is the "
            "same",
        ) from error
    except KeyboardInterrupt:
        if signal.SIGTERM in stop:
            hint = "type the same command again to go on"
            raise AntError("terminated", hint, exit_code=SIGNALLED + signal.SIGTERM) from None
        if SPEAKS:
            complain("interrupted", "type the same command again to go on")
        raise
    if not accelerator.is_main_process:
        return
    remember_latest(run)
    result(str(run.preview))
    say(
        f"done: look at {run.preview}, then type `ant sample {quoted(run.folder)}` for more images "
        f"or `ant evaluate intra-lpips {quoted(run.folder)}` for their diversity"
    )
    count, known = images_apart(run), may_be_asked(run)
    if count and known is not None:
        say(
            f"samples have what is new in each of the {count} images in turn: `ant sample "
            f"{quoted(run.folder)} --condition {known.of_images[0]}` draws with that of the first "
            "alone"
        )


def _interruptible(records: Iterator[Record], stop: list[int]) -> Iterator[Record]:
    """Stop at once where there is no step to finish and save."""
    from antcli.training.loop import StepRecord

    try:
        for record in records:
            yield record
            if stop and not isinstance(record, StepRecord):
                raise KeyboardInterrupt
    except Exception as error:
        # What is compiled is compiled by processes of torch's own, which Ctrl-C ends, too.
        if stop and type(error).__module__.startswith("torch._"):
            raise KeyboardInterrupt from error
        raise


def _stopped(asked: list[int]) -> Callable[[], bool]:
    """Whether to stop after this step: asked to, or one of several that nobody would end."""
    launcher = os.getppid()
    return lambda: bool(asked) or (LAUNCHED and os.getppid() != launcher)


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Ctrl-C or SIGTERM ask the run to stop after its step, which is then saved.

    Ctrl-C again stops at once. SIGTERM again does not: of several processes each may have it from
    a cluster's queue and from its launcher.
    """
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not asked:
            say("stopping after this step; Ctrl-C again stops at once")
        asked.append(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in signals]
    try:
        yield asked
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
