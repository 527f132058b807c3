"""The networks that can be adapted, and the one that diffusers has no class for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

from diffusers import ModelMixin, UNet2DConditionModel, UNet2DModel
from diffusers.models.attention_processor import Attention


class UNet2DModelOfEqualHeads(UNet2DModel):
    """A `UNet2DModel` whose attention has as many heads at every width, as LDM's LSUN churches.

    Its config.json differs in this: `attention_head_dim` is a list, the channels of a head at
    each level of `block_out_channels`. A plain `UNet2DModel` refuses such a config, rather than
    give wrong numbers.
    """

    @wraps(UNet2DModel.__init__)  # type: ignore[misc]
    def __init__(self, *, attention_head_dim: Sequence[int], **config: Any) -> None:
        super().__init__(**config, attention_head_dim=None)
        self.register_to_config(attention_head_dim=list(attention_head_dim))
        down = zip(self.down_blocks, attention_head_dim, strict=True)
        up = zip(self.up_blocks, reversed(attention_head_dim), strict=True)
        for block, width in (*down, (self.mid_block, attention_head_dim[-1]), *up):
            for module in block.modules():
                if isinstance(module, Attention):
                    module.heads = module.inner_dim // width
                    module.scale = width**-0.5


NETWORKS: dict[str, type[ModelMixin]] = {
    kind.__name__: kind for kind in (UNet2DModel, UNet2DConditionModel, UNet2DModelOfEqualHeads)
}
"""By the name that a config.json gives them."""
# diffusers' pipelines load a class of this module, once it is imported, if it is a subclass of
# what they know by name and find in here: `ModelMixin`.
