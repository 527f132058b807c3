"""What reaches the screen: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 10.0

RANK = os.environ.get("RANK", "0")
SPEAKS = RANK == "0"
"""Of several processes only the first speaks; any of them complains."""
LAUNCHED = int(os.environ.get("WORLD_SIZE", "1")) > 1
"""Whether this is one of several processes."""

SIGNALLED = 128
"""Exit codes from here on say which signal ended the program."""
NOBODY_READS = SIGNALLED + 13
"""The exit code of what a closed pipe ends, by the number of SIGPIPE."""


@cache
def _stderr() -> Console:
    from rich.console import Console

    class Remarks(Console):
        """Goes on in silence when nobody reads any more: no reason to lose the work."""

        def on_broken_pipe(self) -> None:
            self.quiet = True

    return Remarks(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """A line for the person at the screen."""
    if SPEAKS:
        _stderr().print(message, markup=False)


def result(text: str) -> None:
    """A line of the command's result. Where nobody reads it, the program ends as by SIGPIPE."""
    if not SPEAKS:
        return
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer goes nowhere, instead of failing again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(NOBODY_READS)


def json_result(value: object) -> None:
    """The command's result as one JSON object."""
    from antcli.artifacts import to_json

    result(to_json(value, indent=2))


def complain(message: str, hint: str) -> None:
    """An error and what to do next, by the process that has it."""
    who = "" if SPEAKS else f" on rank {RANK}"
    _stderr().print(f"[bold red]error{who}:[/] {_plain(message)}")
    if hint:
        _stderr().print(f"[bold]hint:[/] {_plain(hint)}")


@contextmanager
def engine_warnings_said() -> Iterator[None]:
    """Show each warning of the engine as one line."""
    from antcli.errors import AntWarning

    with warnings.catch_warnings():
        show = warnings.showwarning

        def said(message: Warning | str, category: type[Warning], *more: Any) -> None:
            if issubclass(category, AntWarning):
                say(f"warning: {message}")
            else:
                show(message, category, *more)

        warnings.showwarning = said  # type: ignore[assignment]
        yield


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _bar() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=_stderr(),
        transient=True,
    )


class Bar:
    """Progress of long work: a bar with the time left, or plain lines without a terminal."""

    def __init__(self) -> None:
        self._progress = _bar() if _stderr().is_terminal and SPEAKS else None
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, what: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` pieces of `what` are done."""
        if self._progress is None:
            self._line(what, done, total, note)
            return
        if what not in self._tasks:
            for task in self._tasks.values():
                self._progress.update(task, visible=False)
            self._tasks[what] = self._progress.add_task(what, total=total, note=note)
        self._progress.update(self._tasks[what], completed=done, note=note)

    def _line(self, what: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        started = self._started.setdefault(what, now)
        if done < total and now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        left = (now - started) / max(done, 1) * (total - done)
        ending = f", about {left:.0f} s left" if done < total and now > started else ""
        say(f"{what} {done}/{total}{' ' + note if note else ''}{ending}")
