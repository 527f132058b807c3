"""Work that several processes share, as a launcher would start them, without its seconds.

The processes come from a server that has loaded the engine once. What they do is defined here: it
has to be found by its name.
"""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["antcli.training.adaptation", "spread"])
SECONDS = 120


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


def adapt_into(folder: Path, settings: Mapping[str, Any], stop_after: int | None = None) -> int:
    """Adapt, or go on, as far as to a step; how many took part."""
    from antcli.config import adapt_config_from
    from antcli.devices import make_accelerator
    from antcli.runs import Run
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
