"""What `--help` says of the options."""

from typing import get_args

import pytest
from typer.main import get_command

from antcli.cli.adapt_options import MethodOption
from antcli.cli.main import app, main
from antcli.methods.table import METHODS


def test_every_method_is_offered() -> None:
    """The command lists them itself: it does not import the methods to be asked for help."""
    choices, _ = get_args(get_args(MethodOption)[0])
    assert list(get_args(choices)) == list(METHODS)


def test_defaults_that_the_method_or_the_run_decides_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["adapt", "--help"])
    told = capsys.readouterr().out
    for default in ("runs/SOURCE-TARGET-METHOD", "the method's", "bridge", "all", "auto"):
        assert f"default: ({default})" in told


def test_no_help_has_brackets_that_its_markup_would_swallow() -> None:
    commands = [get_command(app)]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        for parameter in command.params:
            assert "[default" not in (getattr(parameter, "help", None) or ""), parameter.name
