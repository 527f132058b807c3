"""The command `ant`: its subcommands, and the one place where errors become messages."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import Annotated

import typer

from antcli import __version__
from antcli.cli.adapt import adapt_command
from antcli.cli.adapt_options import METHODS_TOLD
from antcli.cli.console import LAUNCHED, SIGNALLED, SPEAKS, complain, engine_warnings_said
from antcli.cli.distill import distill_command
from antcli.cli.evaluate import evaluate_app
from antcli.cli.export import export_command
from antcli.cli.fetch_source import fetch_source_command
from antcli.cli.launch import is_lost_connection, tells_first
from antcli.cli.sample import sample_command
from antcli.cli.train_classifier import train_classifier_command
from antcli.errors import AntError

app = typer.Typer(
    name="ant",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Ten images of a new domain in, a generator of that domain out.",
)
app.command("fetch-source")(fetch_source_command)
app.command("train-classifier")(train_classifier_command)
app.command("adapt", epilog=METHODS_TOLD)(adapt_command)
app.command("distill")(distill_command)
app.command("sample")(sample_command)
app.add_typer(evaluate_app, name="evaluate")
app.command("export")(export_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ant {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Few-shot domain adaptation of diffusion models."""


class _TerminatedError(BaseException):
    """Raised where the program is when SIGTERM comes, so that nothing is left half-written."""


def main(arguments: list[str] | None = None) -> None:
    """Run `ant`.

    Exits 0 when done, 1 failed, 2 used wrongly, 130 interrupted (by Typer), 141 when nobody
    reads the result any more, 143 terminated.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with engine_warnings_said():
            app(args=arguments)
    except AntError as error:
        # All are told to stop, so the first says it; what else ends a process, it says itself.
        if SPEAKS if error.exit_code >= SIGNALLED else tells_first():
            complain(error.message, error.hint)
        sys.exit(error.exit_code)
    except _TerminatedError:
        if SPEAKS:
            complain("terminated", "type the same command again")
        sys.exit(SIGNALLED + signal.SIGTERM)
    except Exception as error:
        told = _unwritable(error)
        if told is not None:
            if tells_first():
                complain(told.message, told.hint)
            sys.exit(told.exit_code)
        if not LAUNCHED:
            raise
        lost = is_lost_connection(error)
        if tells_first():
            what = "the other processes have ended" if lost else f"{type(error).__name__}: {error}"
            complain(what, "type the same command again to go on")
            if not lost:
                traceback.print_exc()
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _unwritable(error: Exception) -> AntError | None:
    """What a person can mend where an error means that a file cannot be written."""
    if not isinstance(error, OSError):
        return None
    from antcli.artifacts import FULL, NOT_HERE, cannot_write

    written = error.errno in (*FULL, *NOT_HERE)
    return cannot_write(error.filename or "the output", error) if written else None


def _terminate(_number: int, _frame: object) -> None:
    raise _TerminatedError
