"""What holds for every command: streams, exit codes, speed of help."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antcli.cli.work import _asked_to_stop, _interruptible


def test_sigterm_twice_is_sigterm_once_and_a_second_ctrl_c_stops_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _asked_to_stop() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked == [signal.SIGTERM, signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert capsys.readouterr().err.count("stopping after this step") == 1


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
        ["export", "--help"],
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
    code = "import sys; sys.argv[0] = 'ant'; from antcli.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert "fetch-source" in done.stdout


# --- ends that nobody planned ---------------------------------------------------------------


def closed_pipe() -> int:
    """What writes into a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_an_error_is_told_by_the_process_that_has_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "antcli", "sample", "nowhere"],
        env={**os.environ, "RANK": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("error on rank 3: ") == done.stderr.count("error") == 1


def test_a_result_that_nobody_reads_ends_in_silence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "antcli", "fetch-source", "--json"],
        stdout=closed_pipe(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 141
    assert done.stderr == ""


def test_remarks_that_nobody_reads_stop_no_work() -> None:
    code = (
        "from antcli.cli.console import complain, result, say\n"
        "say('one'), say('two'), complain('three', ''), result('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=closed_pipe(), text=True
    )
    assert done.returncode == 0
    assert done.stdout == "done\n"


def test_a_terminated_command_leaves_nothing_half_written(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from antcli.artifacts import replacing\n"
        "from antcli.cli.main import app, main\n"
        "@app.command('wait')\n"
        "def wait() -> None:\n"
        "    with replacing(Path(sys.argv[1])) as temporary:\n"
        "        temporary.write_text('half')\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "main(['wait'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "file")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors.startswith("error: terminated\n")
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_ctrl_c_ends_is_an_interruption() -> None:
    from torch._dynamo.exc import InternalTorchDynamoError

    def compiling() -> Iterator[Any]:
        raise InternalTorchDynamoError("a process of the compiler has ended")
        yield

    with pytest.raises(KeyboardInterrupt):
        list(_interruptible(compiling(), [signal.SIGINT]))
    with pytest.raises(InternalTorchDynamoError):
        list(_interruptible(compiling(), []))
