"""What several processes of one run tell one another outside of a step.

The tensors of a step go through collectives, which end with a time-out where somebody is missing.
All that takes one process longer than the others goes through the store by which the launcher had
them find one another: to wait there has no end of its own.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

PAUSE = 0.05
"""Seconds between two looks at whether the first process is done."""
ANSWER = timedelta(minutes=5)
"""How long the store may take to answer."""
_turns = itertools.count()


@contextmanager
def others_wait(accelerator: Accelerator) -> Iterator[None]:
    """The first process works inside; the others come out when it does, however long it takes.

    One that fails inside does not let them go: its launcher ends them.
    """
    if accelerator.num_processes == 1:
        yield
        return
    turn = _turn()
    yield
    if accelerator.is_main_process:
        _store().set(turn, "over")
    while not _store().check([turn]):
        time.sleep(PAUSE)


def all_wait(accelerator: Accelerator) -> None:
    """Go on when all processes have come here, however long it takes them."""
    if accelerator.num_processes == 1:
        return
    turn = _turn()
    _store().add(turn, 1)
    while _store().add(turn, 0) < accelerator.num_processes:
        time.sleep(PAUSE)


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether a flag is up in some process; all of them are told the same."""
    return bool(_sum(accelerator, int(flag)))


def first_decides(accelerator: Accelerator, number: int) -> int:
    """The number that the first process gives; what the others give is not looked at."""
    return _sum(accelerator, number if accelerator.is_main_process else 0)


def own_share(accelerator: Accelerator, items: Sequence[int]) -> Sequence[int]:
    """Every n-th, beginning with the process' own number."""
    return items[accelerator.process_index :: accelerator.num_processes]


def gathered(accelerator: Accelerator, own: Tensor) -> Tensor:
    """What each process made of its `own_share`, [n, ...] on the CPU, in the order of all."""
    if accelerator.num_processes == 1:
        return own
    parts: list[Tensor] = gather_object([own])
    whole = own.new_empty((sum(map(len, parts)), *own.shape[1:]))
    for index, part in enumerate(parts):
        whole[index :: len(parts)] = part
    return whole


@dataclass(frozen=True)
class Shares:
    """How processes divide a work of which each needs the whole; by default there is one alone.

    All of them call the same methods in the same order.
    """

    accelerator: Accelerator | None = None

    @property
    def count(self) -> int:
        """How many processes."""
        return 1 if self.accelerator is None else self.accelerator.num_processes

    @property
    def index(self) -> int:
        """Which one this is."""
        return 0 if self.accelerator is None else self.accelerator.process_index

    def any(self, flag: bool) -> bool:
        """Whether a flag is up in some process; all of them are told the same."""
        return flag if self.accelerator is None else any_process(self.accelerator, flag)

    def of_each(self, own: Tensor) -> list[Tensor]:
        """What each process has, on the CPU, in their order."""
        if self.count == 1:
            return [own]
        assert self.accelerator is not None
        all_wait(self.accelerator)
        parts: list[Tensor] = gather_object([own.cpu()])
        return parts

    def sum(self, own: Tensor) -> Tensor:
        """The sum over the processes, where their tensors are."""
        if self.count == 1:
            return own
        assert self.accelerator is not None
        summed: Tensor = self.accelerator.reduce(own.to(self.accelerator.device), "sum")
        return summed.to(own.device)

    def rows(
        self,
        count: int,
        batch_size: int,
        of: Callable[[list[int]], Tensor],
        advance: Callable[[int], object] = lambda done: None,
    ) -> Tensor:
        """What `of` makes of `count` things, [count, ...] on the CPU, in their order.

        At least one thing. It is asked for batches of their numbers, of which each process takes
        its share, so that how many there are changes nothing. `advance` hears of the batches of
        all.
        """
        batches = torch.arange(count).split(batch_size)
        own = []
        for first in range(0, len(batches), self.count):
            among = batches[first : first + self.count]
            if self.index < len(among):
                own.append(of(among[self.index].tolist()).cpu())
            advance(sum(map(len, among)))
        parts = self.of_each(torch.cat(own) if own else torch.empty(0))
        whole = parts[0].new_empty(count, *parts[0].shape[1:])
        for index, part in enumerate(parts):
            if len(part):
                whole[torch.cat(batches[index :: self.count])] = part
        return whole


ALONE = Shares()
"""Of one process."""


@torch.no_grad()
def sum_gradients(accelerator: Accelerator, parameters: Sequence[Tensor]) -> None:
    """Put the sum over the processes in the place of each parameter's gradient."""
    if accelerator.num_processes == 1:
        return
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    together = accelerator.reduce(torch.cat([g.flatten() for g in own]), "sum")
    parts = together.split([p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def first_to_tell() -> bool:
    """Whether no process of this run has asked this before: of many that fail, one says why."""
    if launched() == 1:
        return True
    try:
        return _store().add(f"{_attempt()}/told", 1) == 1
    except RuntimeError:  # the store has gone with what held it: better twice than not at all
        return True


def _sum(accelerator: Accelerator, number: int) -> int:
    if accelerator.num_processes == 1:
        return number
    raised = torch.tensor(float(number), device=accelerator.device)
    return int(accelerator.reduce(raised, "sum").item())


def launched() -> int:
    """How many processes a launcher has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _turn() -> str:
    """The same in all processes, which wait as often and in the same order."""
    return f"{_attempt()}/turn/{next(_turns)}"


def _attempt() -> str:
    """Begins the names of what is told: a launcher may start a run again, with the same store."""
    return f"ant/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


@cache
def _store() -> Any:
    """Where torch's launcher, or the first process, keeps what all may read."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not on every system

    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(*place, is_master=False, timeout=ANSWER, wait_for_workers=False)
