"""Work that several processes share, as a launcher would start them, without its seconds.

The processes come from a server that has loaded the engine once. What they do is defined here: it
has to be found by its name.
"""

import itertools
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["antcli.training.adaptation", "spread"])
SECONDS = 120
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree")
"""Of a process, as Python tells them."""


def spread(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returns in each of `count` connected processes, by rank.

    What it raises in one, it returns of that one.
    """
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True)
    ends = [CONTEXT.Pipe(duplex=False) for _ in range(count)]
    workers = [
        CONTEXT.Process(target=_work, args=(sender, rank, count, store.port, work, arguments))
        for rank, (_, sender) in enumerate(ends)
    ]
    for worker in workers:
        worker.start()
    try:
        assert all(receiver.poll(SECONDS) for receiver, _ in ends)
        return [receiver.recv() for receiver, _ in ends]
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _work(
    sender: Any, rank: int, count: int, port: int, work: Callable[..., Any], arguments: tuple
) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    names |= {"TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    try:
        sender.send(work(*arguments))
    except BaseException:
        sender.send(traceback.format_exc())


def cut_at(moment: int | None, folder: Path, settings: Mapping[str, Any]) -> int | None:
    """Adapt in a process that is killed at one of its moments; how many these were, if it lives.

    A moment is before each thing that is done to a file of the folder, and, of a weights file,
    when half of it is written.
    """
    receiver, sender = CONTEXT.Pipe(duplex=False)
    worker = CONTEXT.Process(target=_live_until, args=(sender, moment, folder, settings))
    worker.start()
    worker.join(SECONDS)
    killed = worker.exitcode == -signal.SIGKILL
    assert killed or worker.exitcode == 0
    return None if killed else receiver.recv()


def _live_until(sender: Any, moment: int | None, folder: Path, settings: Mapping[str, Any]) -> None:
    from antcli import artifacts

    torch.set_num_threads(1)
    passed, save = itertools.count(1), artifacts.save_file

    def one_more() -> None:
        if next(passed) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple) -> None:
        if event in EVENTS and any(str(a).startswith(str(folder)) for a in arguments):
            one_more()

    def in_two_halves(tensors: Any, path: Path, metadata: Any) -> None:
        save(tensors, path, metadata=metadata)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        one_more()
        path.write_bytes(whole)

    artifacts.save_file = in_two_halves
    sys.addaudithook(watch)
    adapt_into(folder, settings)
    sender.send(next(passed) - 1)


def full_disk(folder: Path, settings: Mapping[str, Any], step: int, size: int) -> None:
    """As `adapt_into`, where from a step on no file can be larger than so many bytes."""
    from antcli.training.loop import Training

    steps = Training.steps

    def filling(training: Training) -> Any:
        for record in steps(training):
            if record.step == step:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            yield record

    Training.steps = filling  # type: ignore[method-assign]
    adapt_into(folder, settings)


def type_in(arguments: list[str], failing: int | None = None) -> tuple[object, str]:
    """What `ant` exits with, and says; in one of the processes the third step fails."""
    with tempfile.TemporaryFile() as screen:
        os.dup2(screen.fileno(), 2)
        from antcli.cli import launch
        from antcli.cli.main import main
        from antcli.training.folder import RunFolder
        from antcli.training.part import Part

        update = Part.update

        def fails(part: Part, steps: Any, done: int) -> Any:
            if done == 2 and os.environ["RANK"] == str(failing):
                raise ZeroDivisionError("of this process alone")
            return update(part, steps, done)

        launch.MORE_THAN_ANY_DEATH_TAKES = 2.0
        Part.update = fails  # type: ignore[method-assign]
        RunFolder.preview = lambda folder: None  # type: ignore[method-assign]
        try:
            main(arguments)
        except SystemExit as end:
            screen.seek(0)
            return end.code, screen.read().decode()
    raise AssertionError("a command ends by SystemExit")


def divided(count: int, batch_size: int) -> tuple[list[int], list[list[float]]]:
    """What this process was asked to do of a work, and what came of it in all."""
    from antcli.devices import shared_work

    shares, _ = shared_work("cpu")
    asked: list[int] = []

    def of(numbers: list[int]) -> torch.Tensor:
        asked.extend(numbers)
        return torch.tensor([[number, number**2.0] for number in numbers])

    return asked, shares.rows(count, batch_size, of).tolist()


def adapt_into(folder: Path, settings: Mapping[str, Any], stop_after: int | None = None) -> int:
    """Adapt, or go on, as far as to a step; how many took part."""
    from antcli.config import adapt_config_from
    from antcli.devices import make_accelerator
    from antcli.runs.run import Run
    from antcli.training.adaptation import adapt
    from antcli.training.inputs import check_inputs
    from antcli.training.loop import StepRecord

    config, accelerator = adapt_config_from(settings), make_accelerator("cpu", "no")
    last = [0]
    stopping = accelerator.process_index == 0  # what one decides, all follow
    try:
        inputs, run = check_inputs(config), Run(folder)
        for record in adapt(
            inputs, config, run, accelerator, lambda: stopping and last[0] == stop_after
        ):
            last[0] = record.step if isinstance(record, StepRecord) else last[0]
    except KeyboardInterrupt:
        assert stop_after
    return accelerator.num_processes


def slow_classifier(folder: Path, settings: Mapping[str, Any], seconds: float) -> int:
    """As `adapt_into`, where checking the classifier takes longer than a collective may."""
    import time

    from antcli import devices
    from antcli.training.classifier import ClassifierTraining

    devices.WAIT = timedelta(seconds=seconds / 2)
    checked = ClassifierTraining.checked

    def slowly(training: ClassifierTraining) -> Any:
        time.sleep(seconds)
        return (yield from checked(training))

    ClassifierTraining.checked = slowly  # type: ignore[method-assign]
    return adapt_into(folder, settings)
