"""The networks that can be adapted, and the two that diffusers has no class for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from inspect import Parameter, signature
from typing import Any

from diffusers import ModelMixin, UNet2DConditionModel, UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding


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


class UNet2DModelOfColumns(UNet2DModel):
    """A `UNet2DModel` that is told of each image in so many columns of numbers, [B, columns].

    Its `class_embedding` makes of them what is added to the embedding of the time: two layers, as
    those of a `UNet2DConditionModel` with `class_embed_type` "projection", which takes no columns
    without a text. Its config.json holds `columns` besides.
    """

    def __init__(self, *, columns: int, **config: Any) -> None:
        super().__init__(**config)
        self.register_to_config(columns=columns)
        width = self.time_embedding.linear_2.out_features
        self.class_embedding = TimestepEmbedding(columns, width)

    # What a config.json may hold, diffusers reads off here.
    _plain = signature(UNet2DModel.__init__)
    _columns = Parameter("columns", Parameter.KEYWORD_ONLY)
    __init__.__signature__ = _plain.replace(  # type: ignore[attr-defined]
        parameters=[*_plain.parameters.values(), _columns]
    )


NETWORKS: dict[str, type[ModelMixin]] = {
    kind.__name__: kind
    for kind in (
        UNet2DModel,
        UNet2DConditionModel,
        UNet2DModelOfEqualHeads,
        UNet2DModelOfColumns,
    )
}
"""By the name that a config.json gives them."""
# diffusers' pipelines load a class of this module, once it is imported, if it is a subclass of
# what they know by name and find in here: `ModelMixin`.
