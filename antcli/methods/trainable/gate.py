"""When what is added to a network speaks."""

from __future__ import annotations

from torch import Tensor


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
