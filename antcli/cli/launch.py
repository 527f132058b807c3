"""Several processes of one command: how they are started, and which of them tells an error."""

from __future__ import annotations

import logging
import signal
import sys
import time

from antcli.cli.console import LAUNCHED, SIGNALLED, complain
from antcli.errors import AntError

MORE_THAN_ANY_DEATH_TAKES = 10.0
"""Seconds in which a launcher notices that a process has ended, and ends the others."""


def start_processes(count: int, device: str) -> None:
    """Run this very command in `count` processes of this machine, by accelerate's launcher.

    Returns when all are done. Raises `AntError` where the machine cannot have so many.
    """
    import torch
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    _check(count, device)
    options = {
        "num_processes": count,
        "num_machines": 1,
        "num_cpu_threads_per_process": max(1, torch.get_num_threads() // count),
        "main_process_port": 0,
        "mixed_precision": "no",  # the command itself says its precision
        "dynamo_backend": "no",
    }
    # `--multi_gpu` is what accelerate calls torch's launcher, of whatever device; its `--cpu`
    # starts one process.
    typed = ["--multi_gpu", *(f"--{name}={value}" for name, value in options.items())]
    arguments = launch_command_parser().parse_args([*typed, "-m", "antcli", *sys.argv[1:]])
    logging.disable(logging.CRITICAL)  # the processes say themselves what is wrong
    try:
        launch_command(arguments)
    except SignalException as error:
        sys.exit(SIGNALLED + error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            complain(
                f"the process of rank {rank} was ended by {signal.Signals(-failure.exitcode).name}",
                "type the same command again to go on",
            )
            sys.exit(SIGNALLED - failure.exitcode)
        sys.exit(failure.exitcode)
    finally:
        logging.disable(logging.NOTSET)


def tells_first() -> bool:
    """Whether it is for this process to say what is wrong: none of the others has said anything.

    It then is not disturbed in it, and the others are silent until their launcher ends them.
    """
    if not LAUNCHED:
        return True
    from antcli.processes import first_to_tell

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if first_to_tell():
        return True
    _wait_for_the_end()
    return False


def is_lost_connection(error: Exception) -> bool:
    """Whether an error is no more than that another process has ended.

    Then the launcher ends this one as well, and knows why; it returns where there is no launcher.
    """
    import torch

    lost = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
    if lost:
        _wait_for_the_end()
    return lost


def _wait_for_the_end() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(MORE_THAN_ANY_DEATH_TAKES)


def _check(count: int, device: str) -> None:
    """Raise `AntError` where there are not so many devices."""
    import torch

    from antcli.devices import resolve_device

    kind = resolve_device(device)
    if kind == "cpu":
        return
    there = torch.cuda.device_count() if kind == "cuda" else 1
    if ":" in kind or count > there:
        raise AntError(
            f"{count} processes do not find a device each in {kind}"
            + ("" if ":" in kind else f": there {'is' if there == 1 else 'are'} {there}"),
            "say fewer --num-processes, and no number of a device",
            exit_code=2,
        )
