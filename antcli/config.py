"""Settings as frozen dataclasses: defaults, validation, TOML in and out."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from antcli.errors import AntError
from antcli.methods.table import METHODS

Precision = Literal["auto", "no", "fp16", "bf16"]


@dataclass(frozen=True)
class ConditionConfig:
    """What a conditional source is asked for; others are asked for nothing."""

    class_label: int = -1
    """Of a source with classes, which has to be told one, from 0 on; -1: none is."""
    prompt: str = ""
    """Of a source that is conditional on text; the empty prompt asks for anything."""


@dataclass(frozen=True)
class TrainingConfig:
    """How any network of the program is trained."""

    steps: int = 100
    batch_size: int = 10
    """Of the global batch, over all processes."""
    micro_batch: int = 0
    """Images that a process puts through the network at a time; 0: its whole share of the batch.
    The result is the same."""
    low_memory: bool = False
    """Gradient checkpointing: maps are computed again on the way back instead of kept. One image
    at a time where `micro_batch` does not say otherwise. The classifier is on the device only
    while it is asked. Slower; the result is the same."""
    learning_rate: float = 5e-4
    warmup_steps: int = 10
    """Linear, from a tenth of the learning rate."""
    final_learning_rate: float = 0.5
    """Where the cosine ends, as a share of the learning rate."""
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float = 0.9
    flip: bool = True
    """Mirror each image left to right half of the time."""


@dataclass(frozen=True)
class AdaptorConfig:
    """Shape of the adaptors (ANT, section 4.3)."""

    pooling: int = 4
    """c: the map is pooled by this before the adaptor looks at it. `ant adapt` takes 2 for a
    source of latents, whose maps are small already, as the paper does."""
    width: int = 8
    """d: channels inside the adaptor."""
    heads: int = 4
    below: float = 0.6
    """Adaptors act, and are trained, at t below this share of T. Above it the source predicts
    alone: there an image's layout and colours are settled, whose variety ten images cannot teach.
    The paper's is 1."""


@dataclass(frozen=True)
class NoiseConfig:
    """The inner maximisation over the noise (ANT, Eq. 7)."""

    inner_steps: int = 1
    """J."""
    omega: float = 0.02
    gradient: Literal["full", "residual"] = "residual"
    """`full`: through the network. `residual`: its output held constant, no backward pass."""


@dataclass(frozen=True)
class GuidanceConfig:
    """Similarity guidance (ANT, Eq. 5 and 8)."""

    gamma: float = 5.0
    coefficient: Literal["paper", "code", "derived"] = "paper"
    """sigma_hat^2 (Eq. 5); 1 - alpha_bar (the published code); sigma_hat (Appendix A.2)."""
    sign: Literal["minus", "plus"] = "minus"
    """`minus` moves samples towards the target (Eq. 5)."""


@dataclass(frozen=True)
class ClassifierConfig:
    """The noise-aware classifier and what it is trained on."""

    init: str = ""
    """A pretrained ImageNet classifier to go on from: imagenet-64, imagenet-256 or its file.
    Empty: a small one begins from nothing."""
    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 1e-3
    """Where `init` is said, it is 1e-4 unless said as well (ANT, section 5)."""
    weight_decay: float = 0.05
    source_samples: int = 200
    """Drawn from the source model where no folder of source images is given."""
    sampling_steps: int = 15


@dataclass(frozen=True)
class PreviewConfig:
    """The page of samples that a run keeps of itself."""

    images: int = 16
    every: int = 25
    """Steps between two pages; also between two states to resume from."""
    sampling_steps: int = 25


MOST_STEPS = 150
"""Of a run that finds its own end."""


@dataclass(frozen=True)
class StoppingConfig:
    """When training ends."""

    auto: bool = False
    """End where the samples say so; `training.steps` is then the most steps that are taken."""


@dataclass(frozen=True)
class AdaptConfig:
    """All settings of one adaptation."""

    source: str
    target: str
    method: str = "ant"
    seed: int = 0
    device: str = "auto"
    mixed_precision: Precision = "auto"
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    adaptor: AdaptorConfig = field(default_factory=AdaptorConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    preview: PreviewConfig = field(default_factory=PreviewConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "training": {
            "steps": 300,
            "batch_size": 40,
            "learning_rate": 5e-5,
            "beta1": 0.5,
            "ema_decay": 0.9,
        },
        "adaptor": {"width": 8, "heads": 4, "below": 1.0},
        "noise": {"inner_steps": 10, "omega": 0.02, "gradient": "full"},
        "guidance": {"gamma": 5.0, "coefficient": "paper", "sign": "minus"},
    },
}
"""Named settings. `paper`: ANT, section 5 and its published configuration where it is silent."""


FINE_TUNING_RATE = 1e-4
"""Of a pretrained classifier."""


def adapt_config_from(*layers: Mapping[str, Any]) -> AdaptConfig:
    """Settings from nested mappings, later ones over earlier ones.

    Raises `AntError` (wrong usage) for a name that is unknown or a value of the wrong kind.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    classifier = merged.get("classifier")
    if isinstance(classifier, dict) and classifier.get("init"):
        classifier.setdefault("learning_rate", FINE_TUNING_RATE)
    config = _build(AdaptConfig, merged, "")
    assert isinstance(config, AdaptConfig)
    _check(config)
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, not checked yet."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AntError(
            f"cannot read {path}: {error.strerror}", "check the path after --config", exit_code=2
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


LONGEST = 60
"""Characters of two values that an error message still shows."""


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two nested mappings differ, as `name: a -> b`."""
    found = []
    for key in sorted(a.keys() | b.keys()):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            short = len(f"{left}{right}") <= LONGEST
            change = f": {left} -> {right}" if short else " changed"
            found.append(f"{prefix}{key}{change}")
    return found


def _toml(key: str, value: str | float) -> str:
    # Of JSON's escapes TOML lacks the pairs for characters beyond 16 bits, and wants DEL escaped.
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{key} = {text}"


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _build(kind: Any, values: object, prefix: str) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(values, Mapping):
        name = prefix.rstrip(".")
        raise AntError(f"{name} is {values!r}", f"it is a table, [{name}]", exit_code=2)
    unknown = [key for key in values if key not in hints]
    if unknown:
        near = difflib.get_close_matches(unknown[0], hints, n=1)
        hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(hints)}"
        raise AntError(f"unknown setting {prefix}{unknown[0]}", hint, exit_code=2)
    built = {}
    for key, value in values.items():
        wanted = hints[key]
        if is_dataclass(wanted):
            built[key] = _build(wanted, value, f"{prefix}{key}.")
        else:
            built[key] = _value(wanted, value, f"{prefix}{key}")
    missing = [f.name for f in fields(kind) if f.name not in built and _is_required(f)]
    if missing:
        raise AntError(f"setting {missing[0]} is missing", f"say {missing[0]} = ...", exit_code=2)
    return kind(**built)


def _is_required(setting: Field[Any]) -> bool:
    return setting.default is MISSING and setting.default_factory is MISSING


def _value(wanted: Any, value: Any, name: str) -> Any:
    if get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            choices = ", ".join(map(str, get_args(wanted)))
            raise AntError(f"{name} is {value!r}", f"it is one of {choices}", exit_code=2)
        return value
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise AntError(f"{name} is {value!r}", f"it is of type {wanted.__name__}", exit_code=2)
    if wanted is float and not math.isfinite(value):
        raise AntError(f"{name} is {value}", "it is a finite number", exit_code=2)
    return value


AT_LEAST = {
    "seed": 0,
    "condition.class_label": -1,
    "training.steps": 1,
    "training.batch_size": 1,
    "training.micro_batch": 0,
    "training.warmup_steps": 0,
    "training.final_learning_rate": 0,
    "training.beta1": 0,
    "training.beta2": 0,
    "training.weight_decay": 0,
    "training.ema_decay": 0,
    "adaptor.pooling": 1,
    "adaptor.width": 1,
    "adaptor.heads": 1,
    "noise.inner_steps": 0,
    "noise.omega": 0,
    "guidance.gamma": 0,
    "classifier.steps": 1,
    "classifier.batch_size": 2,
    "classifier.weight_decay": 0,
    "classifier.source_samples": 5,
    "classifier.sampling_steps": 1,
    "preview.images": 1,
    "preview.every": 1,
    "preview.sampling_steps": 1,
}
ABOVE_ZERO = (
    "training.learning_rate",
    "training.clip_norm",
    "adaptor.below",
    "classifier.learning_rate",
)
AT_MOST = {"adaptor.below": 1}
BELOW = {
    "seed": 2**63,
    "training.beta1": 1,
    "training.beta2": 1,
    "training.ema_decay": 1,
}


def _check(config: AdaptConfig) -> None:
    """Ranges that a type does not tell."""
    for name, least in AT_LEAST.items():
        _require(_setting(config, name) >= least, name, f"at least {least}")
    for name in ABOVE_ZERO:
        _require(_setting(config, name) > 0, name, "above 0")
    for name, most in AT_MOST.items():
        _require(_setting(config, name) <= most, name, f"at most {most}")
    for name, limit in BELOW.items():
        _require(_setting(config, name) < limit, name, f"below {limit}")
    whole = config.adaptor.width % config.adaptor.heads == 0
    _require(whole, "adaptor.width", "a multiple of adaptor.heads")
    if config.method not in METHODS:
        raise AntError(
            f"method is {config.method!r}", f"it is one of {', '.join(METHODS)}", exit_code=2
        )


def _setting(config: AdaptConfig, name: str) -> float:
    value: float = attrgetter(name)(config)
    return value


def _require(met: bool, name: str, range_: str) -> None:
    if not met:
        raise AntError(f"{name} is out of range", f"it is {range_}", exit_code=2)
