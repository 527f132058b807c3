"""Images of the source itself, as the target's are compared with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from antcli.methods.colours import Colours
from antcli.methods.places import Places


@dataclass(frozen=True)
class Own:
    """Images of the source, uint8 [M, 3, H, W], at least three, and what there is in them."""

    images: Tensor

    @cached_property
    def places(self) -> Places:
        """How they look in each place."""
        return Places.of(self.images)

    @cached_property
    def colours(self) -> Colours:
        """Which colours they have in each place."""
        return Colours.of(self.images)
