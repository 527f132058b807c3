"""What `--help` says of the options, and that they take what there is."""

from pathlib import Path

import pytest
from typer.main import get_command

from antcli.cli.main import app, main
from antcli.methods.table import METHODS

SHOTS = Path(__file__).parents[2] / "examples" / "10shots" / "sunglasses"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_asked_for(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*f"adapt --source avatars --method {method} --dry-run --target".split(), str(SHOTS)])
    assert end.value.code == 0
    assert f'method = "{method}"' in capsys.readouterr().out


def test_defaults_that_the_method_or_the_run_decides_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["adapt", "--help"])
    told = capsys.readouterr().out
    for default in ("runs/SOURCE-TARGET-METHOD", "the method's", "all", "auto"):
        assert f"default: ({default})" in told


def test_no_help_has_brackets_that_its_markup_would_swallow() -> None:
    commands = [get_command(app)]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        for parameter in command.params:
            assert "[default" not in (getattr(parameter, "help", None) or ""), parameter.name
