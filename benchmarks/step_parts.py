"""Taking the parts of a training step apart: what each takes, in seconds or in operations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from antcli.methods.build import Objective
from antcli.methods.choice import Rule, Step


class Parts:
    """Sums what the parts of a step take, by `now`; what is within another part counts there."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.taken: dict[str, float] = defaultdict(float)
        self._inside: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Inside, a part of a step."""
        began = self.now()
        self._inside.append(0.0)
        yield
        whole = self.now() - began
        self.taken[name] += whole - self._inside.pop()
        if self._inside:
            self._inside[-1] += whole

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Let a method of an object be a part."""
        work = getattr(owner, method)

        def timed(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return work(*given, **named)

        setattr(owner, method, timed)


class Operations(TorchDispatchMode):
    """Counts what torch's own counter counts; that one cannot see through `autograd.grad`."""

    total = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Do it, and add its operations."""
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=found)
        return found


class TimedRule(Rule):
    """A rule that is a part of the step."""

    def __init__(self, rule: Rule, parts: Parts, name: str) -> None:
        self.rule, self.parts, self.name = rule, parts, name
        self.module, self.sees_maps = rule.module, rule.sees_maps

    def __call__(self, step: Step) -> Tensor:
        """What the rule says."""
        with self.parts.part(self.name):
            return self.rule(step)


class TimedObjective(Objective):
    """An objective whose loss is the forward pass."""

    parts: Parts

    def loss(self, step: Step, target: Tensor) -> Tensor:
        """The mean over the images."""
        with self.parts.part("forward"):
            return super().loss(step, target)


def observed(objective: Objective, parts: Parts) -> Objective:
    """The same objective, its rules and its loss parts of the step."""
    rules = {"noise": "inner loop", "target": "guidance"}
    timed = {
        slot: TimedRule(rule, parts, name)
        for slot, name in rules.items()
        if (rule := getattr(objective, slot)) is not None
    }
    found = TimedObjective(**{**vars(objective), **timed})
    object.__setattr__(found, "parts", parts)
    return found
