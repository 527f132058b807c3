"""Every random draw of the program. Randomness is counted, not kept.

A draw comes from a generator made of a seed, the name of a stream and counters (a step, the
place of a sample in the global batch), never from a generator that runs on. So a run that is
resumed, or spread over several processes, draws what it would have drawn otherwise, and an
image depends on its own seed alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def generator(seed: int, stream: str, *counters: int) -> torch.Generator:
    """A CPU generator for one draw; equal arguments give equal draws on every machine."""
    name = "/".join([str(seed), stream, *map(str, counters)])
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def normal(
    seed: int, stream: str, step: int, samples: Iterable[int], shape: Sequence[int]
) -> Tensor:
    """Standard normal noise, one draw for each sample of the global batch.

    Returns [len(samples), *shape] in float32 on the CPU.
    """
    draws = [torch.randn(*shape, generator=generator(seed, stream, step, i)) for i in samples]
    return torch.stack(draws)


def balanced_choice(count: int, size: int, draw: torch.Generator) -> Tensor:
    """`size` indices below `count`, in random order, none used twice before all are used once."""
    rounds = -(-size // count)
    return torch.cat([torch.randperm(count, generator=draw) for _ in range(rounds)])[:size]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the weights of new layers, which torch draws itself, follow from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
