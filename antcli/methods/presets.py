"""Named settings, by what the source is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from antcli.methods.imagenet_classifier import CHANNELS, PUBLISHED

Preset = Literal["paper"]


def paper(shape: Sequence[int], latent: bool) -> dict[str, Any]:
    """ANT, section 5 and the published addendum; its code where both are silent.

    `shape` is that of x_t. The classifier goes on from a published one where there is one for
    x_t of this size, learns from all ten images, and is used as it is.
    """
    channels, size = shape[0], shape[-1]
    pretrained = f"imagenet-{size}" if channels == CHANNELS and size in PUBLISHED else ""
    return {
        "method": "ant",
        "training": {
            "steps": 300,
            "batch_size": 40,
            "learning_rate": 1e-5 if latent else 5e-5,
            "beta1": 0.5,
            "ema_decay": 0.9,
        },
        "adaptor": {"width": 8, "heads": 4, "t_limit": 1.0, "pooling": 2 if latent else 4},
        "noise": {"inner_steps": 10, "omega": 0.02, "gradient": "full"},
        "guidance": {"gamma": 5.0, "coefficient": "paper", "sign": "minus"},
        "classifier": {"init": pretrained, "held_out": 0.0},
    }


PRESETS: dict[Preset, Callable[[Sequence[int], bool], dict[str, Any]]] = {"paper": paper}
