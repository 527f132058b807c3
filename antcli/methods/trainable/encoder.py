"""What a network makes of a class before its blocks see it: h, where many tasks share one.

Cheng et al. (NeurIPS 2025, arXiv 2502.04491): conditional models that share a representation h of
their condition need few samples of a new task where h is learnt on others and then frozen.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from antcli.methods.trainable.gate import Gate

ENCODER = "class_embedding"
"""The name that the networks of diffusers give it."""


def is_of_encoder(name: str) -> bool:
    """Whether a parameter or a layer of a network is part of it: see `condition/frozen.py`."""
    return name.startswith(f"{ENCODER}.")


class TunedEncoder(nn.Module):
    """A copy that trains, and speaks in the place of the source's own where the gate lets it."""

    def __init__(self, encoder: nn.Module, gate: Gate) -> None:
        super().__init__()
        self.own, self.gate = copy.deepcopy(encoder).requires_grad_(True), gate
        encoder.register_forward_hook(self._instead)

    def _instead(self, encoder: nn.Module, told: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if self.gate.silent:
            return output
        return self.gate.let(output, self.own(*told) - output)

    def values(self) -> dict[str, Tensor]:
        """Its parameters, by their names in the network."""
        return {f"{ENCODER}.{name}": value for name, value in self.own.state_dict().items()}
