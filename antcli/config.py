"""Settings as frozen dataclasses: defaults, validation, TOML in and out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["auto", "no", "fp16", "bf16"]


@dataclass(frozen=True)
class TrainingConfig:
    """How any network of the program is trained."""

    steps: int = 300
    batch_size: int = 10
    """Of the global batch, over all processes."""
    learning_rate: float = 1e-3
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
    """c: the map is pooled by this before the adaptor looks at it."""
    width: int = 8
    """d: channels inside the adaptor."""
    heads: int = 4


@dataclass(frozen=True)
class NoiseConfig:
    """The inner maximisation over the noise (ANT, Eq. 7)."""

    inner_steps: int = 10
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
class MethodConfig:
    """Settings of the choices that a method is made of."""

    adaptor: AdaptorConfig = field(default_factory=AdaptorConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
