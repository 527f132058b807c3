"""The settings of an adaptation: defaults, layers, TOML in and out.

What a choice of a method can be told lies in the choice's own file; here are only the settings that
every method has.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Lt

from antcli.errors import AntError
from antcli.methods.table import ALIASES, CHOICES, CUSTOM, METHODS, Method, method, tables
from antcli.settings import (
    Count,
    Decay,
    Natural,
    NonNegative,
    Positive,
    checked,
    settings,
    settings_of,
)

Precision = Literal["auto", "no", "fp16", "bf16"]


@settings
class ConditionConfig:
    """What a conditional source is asked for; others are asked for nothing."""

    class_label: Annotated[int, Ge(-1)] = -1
    """Of a source with classes, which has to be told one, from 0 on; -1: none is."""
    prompt: str = ""
    """Of a source that is conditional on text; the empty prompt asks for anything."""
    guidance_scale: NonNegative = 0.0
    """Of classifier-free guidance, wherever samples are drawn for a prompt; 1: none, 0: what is
    usual for the source."""


@settings
class TrainingConfig:
    """How any network of the program is trained."""

    steps: Count = 100
    batch_size: Count = 10
    """Of the global batch, over all processes."""
    micro_batch: Natural = 0
    """Images that a process puts through the network at a time; 0: its whole share of the batch.
    The result is the same."""
    low_memory: bool = False
    """Gradient checkpointing: maps are computed again on the way back instead of kept. One image
    at a time where `micro_batch` does not say otherwise. The classifier is on the device only
    while it is asked. Slower; the result is the same."""
    compile: bool = False
    """Compile the network's passes (torch.compile, as one graph). On a CPU that takes longer than
    it saves: 40 to 80 s for a network of 2.5 million weights."""
    learning_rate: Positive = 5e-4
    """Each method has its own where nothing is said."""
    warmup_steps: Natural = 10
    """Linear, from a tenth of the learning rate."""
    final_learning_rate: NonNegative = 0.5
    """Where the cosine ends, as a share of the learning rate."""
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    weight_decay: NonNegative = 0.01
    clip_norm: Positive = 1.0
    ema_decay: Decay = 0.9
    flip: bool = True
    """Mirror each image left to right half of the time; not where each is a condition."""

    @property
    def settles(self) -> bool:
        """Whether the rate falls to next to nothing: then the last steps are what steadies samples,
        and training is not cut short.
        """
        return self.final_learning_rate < 0.1


@settings
class PreviewConfig:
    """The page of samples that a run keeps of itself."""

    images: Count = 16
    every: Count = 25
    """Steps between two pages; also between two states to resume from, and two checkpoints."""
    sampling_steps: Natural = 0
    """Of a sample; 0: as many as `ant sample` takes."""
    keep: Natural = 0
    """How many checkpoints are kept, the newest ones; 0: all."""


@settings
class ChoicesConfig:
    """What a method without a name, `custom`, is made of; of a named one there is nothing to say.

    Said of a named method, they stand in the place of its own, and it loses its name.
    """

    trains: str = ""
    noise: str = ""
    target: str = ""
    augmentation: str = ""
    condition: str = ""


MOST_STEPS = 150
"""Of a run that finds its own end, unless its settings say more."""


@settings
class StoppingConfig:
    """When training ends."""

    auto: bool = False
    """End where the samples say so; `training.steps` is then the most steps that are taken. Where
    the rate falls to next to nothing all are taken, and the best one is kept."""


@settings
class _Beginning:
    source: str
    target: str
    method: str = "bridge"
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    device: str = "auto"
    mixed_precision: Precision = "auto"


@settings
class _Asked:
    """The settings that say what the method is."""

    method: str = ""
    choices: ChoicesConfig = field(default_factory=ChoicesConfig)


if TYPE_CHECKING:

    @dataclass(frozen=True)
    class AdaptConfig(_Beginning):
        """All settings of one adaptation."""

        choices: ChoicesConfig = field(default_factory=ChoicesConfig)
        condition: ConditionConfig = field(default_factory=ConditionConfig)
        training: TrainingConfig = field(default_factory=TrainingConfig)
        preview: PreviewConfig = field(default_factory=PreviewConfig)
        stopping: StoppingConfig = field(default_factory=StoppingConfig)

        def __getattr__(self, table: str) -> Any:
            """The settings of a choice."""

else:
    _KINDS = {"choices": ChoicesConfig, "condition": ConditionConfig, "training": TrainingConfig}
    _KINDS |= tables()
    _KINDS |= {"preview": PreviewConfig, "stopping": StoppingConfig}
    AdaptConfig = settings_of(
        "AdaptConfig", "All settings of one adaptation.", _KINDS, (_Beginning,)
    )


def adapt_config_from(*layers: Mapping[str, Any]) -> AdaptConfig:
    """Settings from nested mappings, later ones over earlier ones, all over the method's own.

    Raises `AntError` (wrong usage) for a name that is unknown or a value of the wrong kind.
    """
    merged = merge(*layers)
    made, settled = method_said(merged)
    return checked(AdaptConfig, merge(*made.defaults, merged, settled))


def method_said(said: Mapping[str, Any]) -> tuple[Method, dict[str, Any]]:
    """What the method is made of, and the settings that say so.

    A named method of which a choice is another one loses its name, and keeps its preferences.
    """
    asked = checked(_Asked, {key: said[key] for key in ("method", "choices") if key in said})
    chosen = {slot: choice for slot, choice in vars(asked.choices).items() if choice}
    for slot, choice in chosen.items():
        _check_one_of(f"choices.{slot}", choice, CHOICES[slot])
    name = asked.method or (CUSTOM if chosen else _Beginning.method)
    name = ALIASES.get(name, name)
    _check_one_of("method", name, (*METHODS, CUSTOM))
    made = method(name, chosen)
    if name != CUSTOM and made == method(name):
        return made, {"method": name, "choices": dict.fromkeys(vars(asked.choices), "")}
    whole = {slot: getattr(made, slot) for slot in vars(asked.choices)}
    return made, {"method": CUSTOM, "choices": whole}


def _check_one_of(setting: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise AntError(f"{setting} is {name!r}", f"it is one of {', '.join(names)}", exit_code=2)


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one, later ones over earlier ones.

    Where a table follows what is none, that stays: its settings would hide it from `checked`.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if not isinstance(value, Mapping):
                merged[key] = value
            elif isinstance(merged.setdefault(key, {}), Mapping):
                merged[key] = merge(merged[key], value)
    return merged


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, not checked yet."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AntError(
            f"cannot read {path}: {error.strerror}", "check its path", exit_code=2
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AntError(f"{path} is not valid TOML: {error}", "correct it", exit_code=2) from error


def to_toml(config: AdaptConfig) -> str:
    """The settings as TOML; `read_toml` and `adapt_config_from` give them back."""
    values = asdict(config)
    lines = [_toml(k, v) for k, v in values.items() if not isinstance(v, dict)]
    for name, table in values.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *(_toml(k, v) for k, v in table.items())]
    return "\n".join(lines) + "\n"


def method_of(config: AdaptConfig) -> Method:
    """What the settings make of their method."""
    return method(config.method, vars(config.choices))


def label(config: AdaptConfig) -> str:
    """The method's name; of one without a name, its choices."""
    chosen = method_of(config)
    usual = {"augmentation": "none", "condition": "frozen"}
    more = (getattr(chosen, slot) for slot, name in usual.items() if getattr(chosen, slot) != name)
    unnamed = "-".join((chosen.trains, chosen.noise, chosen.target, *more))
    return unnamed if config.method == CUSTOM else config.method


def source_name(config: AdaptConfig) -> str:
    """How the source is called: of a folder its last name alone."""
    return Path(config.source).name if Path(config.source).is_absolute() else config.source


LONGEST = 60
"""Characters of two values that an error message still shows."""


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The settings in which two nested mappings differ, by name, each as `name: a -> b`."""
    found: dict[str, str] = {}
    for key in sorted(a.keys() | b.keys()):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found |= differences(left, right, f"{prefix}{key}.")
        elif left != right:
            short = len(f"{left}{right}") <= LONGEST
            change = f": {left} -> {right}" if short else " changed"
            found[f"{prefix}{key}"] = f"{prefix}{key}{change}"
    return found


def _toml(key: str, value: str | float) -> str:
    # Of JSON's escapes TOML lacks the pairs for characters beyond 16 bits, and wants DEL escaped.
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{key} = {text}"
