"""The named methods: each is a point on the grid of choices, none has a loop of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Method:
    """What trains, on which noise, towards which target."""

    trains: Literal["adaptors", "all"]
    noise: Literal["gaussian", "adversarial"]
    target: Literal["noise", "guided"]

    @property
    def needs_classifier(self) -> bool:
        """Whether similarity guidance is part of it."""
        return self.target == "guided"


METHODS: dict[str, Method] = {
    "ant": Method("adaptors", "adversarial", "guided"),
    "adaptor": Method("adaptors", "gaussian", "noise"),
    "adaptor-guided": Method("adaptors", "gaussian", "guided"),
    "adaptor-adversarial": Method("adaptors", "adversarial", "noise"),
    "full": Method("all", "gaussian", "noise"),
}
