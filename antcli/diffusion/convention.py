"""How a network is to be asked, and how its answer is read as eps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from antcli.diffusion.path import BetaPath, Path, Prediction


@dataclass(frozen=True)
class Convention:
    """What a network says, on which path, and what it wants to be told beside x_t and t."""

    path: Path
    prediction: Prediction = "epsilon"
    condition: Mapping[str, Tensor] = field(default_factory=dict)
    """By the names of the network's `forward`; each [1, ...]."""
    unconditional: Mapping[str, Tensor] = field(default_factory=dict)
    """The same where nothing is asked for; empty: it cannot be."""
    guidance_scale: float = 1.0
    """Of samples: eps_nothing + scale (eps_asked - eps_nothing) (Ho and Salimans 2022, Eq. 6)."""

    _there: dict[torch.device, dict[str, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """The condition by device: it goes there once."""

    def inputs(self, x_t: Tensor) -> dict[str, Tensor]:
        """The condition for each image of a batch."""
        device = x_t.device
        if device not in self._there:
            self._there[device] = {name: v.to(device) for name, v in self.condition.items()}
        own = self._there[device]
        return {name: v.expand(len(x_t), *v.shape[1:]) for name, v in own.items()}

    def eps(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise [B, C, H, W]; of the 2 C channels of a learned variance, the first C count."""
        return self.path.to_eps(output[:, : x_t.shape[1]], x_t, t, self.prediction)


PLAIN = Convention(BetaPath.linear())
"""Of a DDPM as it was published: unconditional, predicting eps, betas from 1e-4 to 0.02."""
