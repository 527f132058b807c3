"""The settings of a distillation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from antcli.config import AdaptConfig, Precision, TrainingConfig, adapt_config_from, merge
from antcli.diffusion.sampler import FewSteps
from antcli.methods.table import CUSTOM
from antcli.settings import Count, Positive, Share, checked, settings

TRAINING = {
    "steps": 300,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "warmup_steps": 20,
    "final_learning_rate": 0.02,
    "weight_decay": 0.0,
    "ema_decay": 0.98,
    "flip": False,
}
"""What the student's training prefers. Its examples are its teacher's, which may know left from
right."""

AS_WELL = 10
"""Evaluations in which dpm++ draws as well as in 25 without any distillation (two adapted runs:
benchmarks/results/samplers.md)."""


@settings
class DistillConfig:
    """All settings of one distillation."""

    steps: Count = 4
    """Evaluations of the student for one image."""
    scheduler: Literal["ddpm", "ddim"] = "ddpm"
    """Which solver the student's steps are those of: with noise of its own in each, or without."""
    share: Share = 0.8
    """Of the path of noise, at whose end the student begins: where noise is most, what it says of
    eps would have to be exact to sigma / alpha of it."""
    images: Count = 192
    """The teacher's samples, from each of which every window but the first begins once."""
    window_steps: Count = 6
    """Evaluations of the teacher in each window."""
    towards: Literal["windows", "distribution"] = "windows"
    """The teacher's windows alone, or its distribution, too."""
    matching: Positive = 0.25
    """What the matching of distributions is multiplied by in the loss, where it is taken."""
    trains: str = "lora"
    rank: Count = 16
    """Of low-rank additions."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    device: str = "auto"
    mixed_precision: Precision = "no"
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @property
    def sampler(self) -> FewSteps:
        """How samples of the student are drawn."""
        return FewSteps(self.scheduler, self.steps, self.share)

    def student(self, adapted: AdaptConfig) -> AdaptConfig:
        """What trains, as the settings of a run of its own: that of the adapted run's domain."""
        said = {name: getattr(self, name) for name in ("seed", "device", "mixed_precision")}
        said |= {"source": adapted.source, "target": adapted.target, "method": CUSTOM}
        chosen = {"choices": {"trains": self.trains}, "lora": {"rank": self.rank}}
        return adapt_config_from(said, chosen, {"training": vars(self.training)})


def distill_config_from(*layers: Mapping[str, Any]) -> DistillConfig:
    """Settings from nested mappings, later ones over earlier ones, all over the defaults.

    Raises `AntError` (wrong usage) for a name that is unknown or a value of the wrong kind.
    """
    config = checked(DistillConfig, merge({"training": TRAINING}, *layers))
    adapt_config_from({"source": "", "target": "", "choices": {"trains": config.trains}})
    return config
