"""The choices, and the named methods: each is one choice for every slot, none has its own loop.

This file imports no choice: the command lists what there is without loading a network library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antcli.methods.choice import Choice

CHOICES: dict[str, dict[str, str]] = {
    "trains": {
        "adaptors": "trainable.adaptors",
        "lora": "trainable.lora",
        "all": "trainable.full",
        "encoder-decoder": "trainable.encoder_decoder",
        "attention": "trainable.attention",
        "modulation": "trainable.modulation",
        "norm": "trainable.norm",
        "bias": "trainable.bias",
    },
    "noise": {
        "gaussian": "noise.gaussian",
        "adversarial": "noise.adversarial",
        "bridged": "noise.bridged",
    },
    "target": {
        "noise": "target.noise",
        "guided": "target.guided",
        "score": "target.score",
        "counterpart": "target.counterpart",
    },
    "condition": {
        "frozen": "condition.frozen",
        "tuned": "condition.tuned",
    },
    "augmentation": {
        "none": "augmentation.none",
        "ada": "augmentation.ada",
    },
    "penalties": {
        "pairwise": "penalties.pairwise",
        "high-frequency": "penalties.high_frequency",
        "details": "penalties.high_frequency:OWN",
        "source": "penalties.source",
        "ewc": "penalties.ewc",
        "features": "penalties.features",
        "contrastive": "penalties.contrastive",
        "self-similarity": "penalties.self_similarity",
    },
}
"""By slot and name: the module within this room, and what the choice is called there."""


def choice(slot: str, name: str) -> Choice:
    """All that there is to know of a choice of the table."""
    module, _, attribute = CHOICES[slot][name].partition(":")
    found: Choice = getattr(import_module(f"antcli.methods.{module}"), attribute or "CHOICE")
    return found


@dataclass(frozen=True)
class Method:
    """What trains, on which noise, towards which target, what becomes of the condition, and how
    images are augmented.
    """

    trains: str
    noise: str
    target: str
    condition: str = "frozen"
    augmentation: str = "none"
    penalties: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Weights that its penalties have where `[penalties]` says nothing."""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What it prefers itself, as nested tables: over what its choices prefer."""

    @property
    def choices(self) -> dict[str, Choice]:
        """Its choices but for the penalties, by their slots."""
        slots = ("trains", "noise", "target", "condition", "augmentation")
        return {slot: choice(slot, getattr(self, slot)) for slot in slots}

    @property
    def defaults(self) -> Iterator[Mapping[str, Any]]:
        """What its choices prefer, as layers of settings."""
        yield {"penalties": {setting(name): weight for name, weight in self.penalties.items()}}
        for chosen in self.choices.values():
            yield chosen.defaults
        yield self.settings


BRIDGE = {
    "training": {
        "steps": 240,
        "learning_rate": 1e-3,
        "final_learning_rate": 0.02,
        "ema_decay": 0.97,
    },
    # A page costs as much as ten steps.
    "preview": {"every": 60},
    "lora": {"rank": 16},
}
"""A rate that falls to almost nothing, so that the last step is the one to take."""
DDPM_PA = {"pairwise": 0.1, "high-frequency": 0.1, "details": 0.01}
"""The least of the paper's ranges, [0.1, 1] for both similarities and [0.01, 0.08] for the details:
with ten times as much drawn faces stay farther off (benchmarks/results/learning-rates.md)."""
EWC = 1e5
"""With ten times as much the penalty is of the order of the loss after ten to thirty steps of
`finetune` on drawn faces, and holds them back; the 5e8 of GANs outweighs it thousands of times."""
FEATURES, CONTRASTIVE = 100.0, 0.02
"""A tenth and a hundredth of the published ones, 1000 and 2, with which drawn faces stay far nearer
to the source (benchmarks/results/learning-rates.md)."""
PURPOSES: dict[str, dict[str, Method]] = {
    "from a few images": {
        "bridge": Method("lora", "bridged", "counterpart", settings=BRIDGE),
    },
    "ANT and its parts": {
        "ant": Method("adaptors", "adversarial", "guided"),
        "ant-lora": Method("lora", "adversarial", "guided"),
        "adaptor-guided": Method("adaptors", "gaussian", "guided"),
        "adaptor-adversarial": Method("adaptors", "adversarial", "noise"),
    },
    "plain training": {
        "finetune": Method("all", "gaussian", "noise"),
        "lora": Method("lora", "gaussian", "noise"),
        "adaptor": Method("adaptors", "gaussian", "noise"),
        "encoder-decoder": Method("encoder-decoder", "gaussian", "noise"),
    },
    "rivals": {
        "ddpm-pa": Method("all", "gaussian", "noise", penalties=DDPM_PA),
        "dogfit": Method("all", "gaussian", "score"),
    },
    "of GANs, carried to diffusion": {
        "ewc": Method("all", "gaussian", "noise", penalties={"ewc": EWC}),
        "adam": Method("modulation", "gaussian", "noise"),
        "cdc": Method("all", "gaussian", "noise", penalties={"features": FEATURES}),
        "dcl": Method("all", "gaussian", "noise", penalties={"contrastive": CONTRASTIVE}),
        "rssa": Method("all", "gaussian", "noise", penalties={"self-similarity": 1.0}),
        "finetune-ada": Method("all", "gaussian", "noise", augmentation="ada"),
    },
}
"""The named methods, by what they are for."""
METHODS: dict[str, Method] = {
    name: method for named in PURPOSES.values() for name, method in named.items()
}
ALIASES = {"full": "finetune"}
"""Names of before."""
CUSTOM = "custom"
"""A method without a name: its choices are in `[choices]`."""
PLAIN = Method("lora", "gaussian", "noise")
"""What a method without a name is where nothing is chosen."""


def method(name: str, chosen: Mapping[str, str] | None = None) -> Method:
    """A named method, or `custom`, with what is `chosen` by slot in the place of its own.

    Where something else trains, it does so at its own learning rate.
    """
    row = PLAIN if name == CUSTOM else METHODS[ALIASES.get(name, name)]
    others: dict[str, Any] = {slot: other for slot, other in (chosen or {}).items() if other}
    if others.get("trains", row.trains) != row.trains and "training" in row.settings:
        training = {k: v for k, v in row.settings["training"].items() if k != "learning_rate"}
        others["settings"] = {**row.settings, "training": training}
    return replace(row, **others)


def setting(penalty: str) -> str:
    """The name in `[penalties]` of a penalty."""
    return penalty.replace("-", "_")


def tables() -> dict[str, type[Any]]:
    """The settings of all choices, by the table of a config file."""
    from antcli.settings import NonNegative, settings_of

    found = {
        table: kind
        for slot, names in CHOICES.items()
        for name in names
        for table, kind in choice(slot, name).tables.items()
    }
    weights = settings_of(
        "Penalties",
        "What each penalty is multiplied by in the loss; 0: it is not taken.",
        dict.fromkeys(map(setting, CHOICES["penalties"]), NonNegative),
    )
    return {**found, "penalties": weights}
