"""The choices, and the named methods: each is one choice for every slot, none has its own loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from antcli.methods.choice import Choice
from antcli.methods.condition import frozen
from antcli.methods.noise import adversarial, bridged, gaussian
from antcli.methods.penalties import pairwise
from antcli.methods.target import counterpart, guided
from antcli.methods.target import noise as plain
from antcli.methods.trainable import adaptors, full, lora
from antcli.settings import NonNegative, settings_of

TRAINABLE = {
    "adaptors": adaptors.CHOICE,
    "full": full.CHOICE,
    "lora": lora.CHOICE,
}
NOISE = {
    "gaussian": gaussian.CHOICE,
    "adversarial": adversarial.CHOICE,
    "bridged": bridged.CHOICE,
}
TARGET = {
    "noise": plain.CHOICE,
    "guided": guided.CHOICE,
    "counterpart": counterpart.CHOICE,
    "counterpart-guided": counterpart.GUIDED,
}
PENALTIES: dict[str, Choice] = {
    "pairwise": pairwise.CHOICE,
}
CONDITION = {
    "frozen": frozen.CHOICE,
}


@dataclass(frozen=True)
class Method:
    """What trains, on which noise, towards which target, and what becomes of the condition."""

    trains: str
    noise: str
    target: str
    condition: str = "frozen"
    penalties: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Weights that its penalties have where `[penalties]` says nothing."""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What it prefers itself, as nested tables: over what its choices prefer."""

    @property
    def choices(self) -> dict[str, Choice]:
        """Its choices but for the penalties, by their slots."""
        return {
            "trains": TRAINABLE[self.trains],
            "noise": NOISE[self.noise],
            "target": TARGET[self.target],
            "condition": CONDITION[self.condition],
        }

    @property
    def defaults(self) -> Iterator[Mapping[str, Any]]:
        """What its choices prefer, as layers of settings."""
        yield {"penalties": self.penalties}
        for choice in self.choices.values():
            yield choice.defaults
        yield self.settings


BRIDGE = {
    "training": {
        "steps": 120,
        "learning_rate": 1e-3,
        "final_learning_rate": 0.02,
        "ema_decay": 0.97,
    },
    "lora": {"rank": 16},
}
"""A rate that falls to almost nothing, so that the last step is the one to take."""
METHODS: dict[str, Method] = {
    "bridge": Method("lora", "bridged", "counterpart-guided", settings=BRIDGE),
    "ant": Method("adaptors", "adversarial", "guided"),
    "adaptor": Method("adaptors", "gaussian", "noise"),
    "adaptor-guided": Method("adaptors", "gaussian", "guided"),
    "adaptor-adversarial": Method("adaptors", "adversarial", "noise"),
    "full": Method("full", "gaussian", "noise"),
    "lora": Method("lora", "gaussian", "noise"),
    "ant-lora": Method("lora", "adversarial", "guided"),
}


def tables() -> dict[str, type[Any]]:
    """The settings of all choices, by the table of a config file."""
    slots = (TRAINABLE, NOISE, TARGET, CONDITION, PENALTIES)
    found = {
        name: kind
        for slot in slots
        for choice in slot.values()
        for name, kind in choice.tables.items()
    }
    weights = settings_of(
        "Penalties",
        "What each penalty is multiplied by in the loss; 0: it is not taken.",
        dict.fromkeys(PENALTIES, NonNegative),
    )
    return {**found, "penalties": weights}
