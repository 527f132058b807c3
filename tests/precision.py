"""How far float32 may be off."""

from __future__ import annotations

import torch
from torch import nn


def rounding(network: nn.Module) -> float:
    """Of what a network gives, as a share of its length.

    Each layer adds the rounding of a sum over its inputs, which grows with their number's root.
    """
    weights = [p for p in network.parameters() if p.ndim > 1]
    return torch.finfo(torch.float32).eps * sum(w[0].numel() ** 0.5 for w in weights)
