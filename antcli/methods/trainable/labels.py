"""What a network is told of its images beside t: an embedding of a label, zero where it begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers import ModelMixin
from torch import Tensor, nn

from antcli.methods.trainable.gate import Gate


class LabelEmbedding(nn.Module):
    """Added to what the U-Net embeds t as; linear, so that the label zero adds nothing, ever.

    (Karras et al. 2022, appendix F.2, which adds it one layer before.) Untrained it adds nothing,
    whatever the label.
    """

    def __init__(self, unet: ModelMixin, size: int, gate: Gate) -> None:
        super().__init__()
        time = unet.time_embedding
        self.linear = nn.Linear(size, time.linear_2.out_features, bias=False)
        nn.init.zeros_(self.linear.weight)
        self.gate, self.size = gate, size
        self.label: Tensor | None = None
        time.register_forward_hook(self._beside)

    @contextmanager
    def told(self, label: Tensor) -> Iterator[None]:
        """Inside, the network is told of labels [B, size]; outside of all such, of zeros."""
        before, self.label = self.label, label
        try:
            yield
        finally:
            self.label = before

    def _beside(self, time: nn.Module, inputs: object, output: Tensor) -> Tensor:
        if self.gate.silent:
            return output
        return self.gate.let(output, self.linear(self.said()))

    def said(self) -> Tensor:
        """The labels [B, size] that it is told of, or zeros, [1, size]: these are embedded as well,
        for processes wait for the gradient of every parameter.
        """
        weight = self.linear.weight
        return weight.new_zeros(1, weight.shape[1]) if self.label is None else self.label.to(weight)
