"""What holds for every command: streams, exit codes, speed of help."""

import subprocess
import sys
from collections.abc import Callable

import pytest


def test_help_and_completion_import_no_torch() -> None:
    code = (
        "import sys, contextlib\n"
        "from antcli.cli.main import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main(['--help'])\n"
        "heavy = {'torch', 'diffusers', 'accelerate', 'numpy', 'PIL', 'lpips'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["adapt", "--help"],
        ["sample", "--help"],
        ["fetch-source", "--help"],
        ["train-classifier", "--help"],
        ["evaluate", "intra-lpips", "--help"],
    ],
)
def test_help_is_on_stdout(ant: Callable, command: list[str]) -> None:
    done = ant(*command)
    assert done.code == 0
    assert "Usage" in done.out
    assert done.err == ""


def test_the_version(ant: Callable) -> None:
    from antcli import __version__

    assert ant("--version").out == f"ant {__version__}\n"


def test_an_unknown_command_or_option_is_wrong_usage(ant: Callable) -> None:
    assert ant("adept").code == 2
    assert ant("sample", "--stepps", "3").code == 2
    assert ant("adapt").code == 2


def test_completion_knows_the_commands() -> None:
    environment = {"_ANT_COMPLETE": "complete_bash", "COMP_WORDS": "ant fe", "COMP_CWORD": "1"}
    import os

    code = "import sys; sys.argv[0] = 'ant'; from antcli.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert "fetch-source" in done.stdout
