"""The running average of the weights that train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Ema:
    """Exponential moving average of named parameters.

    The decay warms up as (1 + k) / (10 + k) after k updates, so that a run of a few hundred
    steps is not held back by its start.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.parameters = parameters
        self.decay = decay
        self.average = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Take in the parameters as they are after `updates` steps."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        averages = [self.average[name] for name in self.parameters]
        torch._foreach_lerp_(averages, list(self.parameters.values()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the parameters hold their averages; afterwards they are back."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._write(self.average)
        try:
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        torch._foreach_copy_(list(self.parameters.values()), [values[n] for n in self.parameters])
