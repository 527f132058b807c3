"""When what is added to a network speaks."""

from __future__ import annotations

from torch import Tensor, nn


class Gate:
    """For which images of a batch the additions speak."""

    silent = False
    open: Tensor | None = None
    """[B], true where they do; None is all of them."""

    def let(self, output: Tensor, added: Tensor) -> Tensor:
        """The output of a block with what is added to it, [B, ...] both."""
        if self.open is None:
            return output + added
        return output + added * self.open.to(output.device).view(-1, *[1] * (added.ndim - 1))


class Parallel:
    """A forward hook that adds to its layer's output what another module makes of its input."""

    def __init__(self, added: nn.Module, gate: Gate) -> None:
        self.added, self.gate = added, gate

    def __call__(self, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output if self.gate.silent else self.gate.let(output, self.added(args[0]))
