"""Adaptors: small modules beside the blocks of a frozen U-Net (ANT, section 4.3).

An adaptor computes psi(x) with its block's own input x, and the block's output becomes
theta(x) + psi(x). Its last convolution starts at zero, so an untrained adapted network is
its source exactly; with all layers at zero, as the paper words it, no weight but the last
bias would ever receive a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from diffusers import ModelMixin, Transformer2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from antcli.diffusion.convention import PLAIN, Convention
from antcli.methods.choice import Choice
from antcli.methods.trainable.denoiser import AddedDenoiser, Limited
from antcli.methods.trainable.gate import Gate
from antcli.randomness import seeded
from antcli.settings import Count, Share, settings


@settings
class AdaptorConfig(Limited):
    """Shape of the adaptors (ANT, section 4.3)."""

    t_limit: Share = 0.6
    """As of all that trains; the paper's is 1."""
    pooling: Count = 4
    """c: the map is pooled by this before the adaptor looks at it. `ant adapt` takes 2 for a
    source of latents, whose maps are small already, as the paper does."""
    width: Count = 8
    """d: channels inside the adaptor."""
    heads: Count = 4

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError("width: a multiple of adaptor.heads")


FAST_WIDTH = 8
"""Of a head: a GPU's fast kernels of attention want a multiple of it, in 16 bits."""
NARROW = ("cuda",)
"""Devices that fall back to a slow kernel, which keeps all scores, where heads are narrower."""


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention of heads of any width, [B, heads, N, width] each.

    Zeros that are added to every head change no score and are cut off again.
    """
    width = query.shape[-1]
    if width % FAST_WIDTH and query.device.type in NARROW:
        spare = (0, -width % FAST_WIDTH)
        query, key, value = (functional.pad(x, spare) for x in (query, key, value))
    mixed = functional.scaled_dot_product_attention(query, key, value, scale=1 / math.sqrt(width))
    return mixed[..., :width]


class Transformer(nn.Module):
    """Pre-norm self-attention and MLP over the positions of a small map."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        # A bias on the keys adds the same to every score of a query: softmax does not see
        # it, and its gradient would be rounding noise that Adam blows up to full steps.
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor) -> Tensor:
        """[B, d, H, W] to the same."""
        tokens = h.flatten(2).transpose(1, 2)
        tokens = tokens + self._attention(self.norm_attention(tokens))
        tokens = tokens + self.mlp(self.norm_mlp(tokens))
        return tokens.transpose(1, 2).reshape(h.shape)

    def _attention(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            part(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = attention(query, key, value)
        return self.project(mixed.transpose(1, 2).flatten(2))


class Adaptor(nn.Module):
    """psi(x): pool, norm, 3x3 convolution down to d channels, transformer, and back up."""

    def __init__(
        self, inputs: int, outputs: int, embedding: int | None, config: AdaptorConfig
    ) -> None:
        super().__init__()
        width = config.width
        self.pooling = config.pooling
        self.norm_in = nn.GroupNorm(inputs // 2 if inputs % 2 == 0 else 1, inputs)
        self.down = nn.Conv2d(inputs, width, 3, padding=1)
        self.time = None if embedding is None else nn.Linear(embedding, width)
        self.transformer = Transformer(width, config.heads)
        self.norm_out = nn.GroupNorm(width // 4 if width % 4 == 0 else 1, width)
        self.up = nn.Conv2d(width, outputs, 3, padding=1)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, embedding: Tensor | None, size: torch.Size) -> Tensor:
        """[B, C, H, W] to [B, C', *size], `size` being that of the block's output."""
        window = (min(self.pooling, x.shape[-2]), min(self.pooling, x.shape[-1]))
        h = self.down(self.norm_in(functional.avg_pool2d(x, window)))
        if self.time is not None and embedding is not None:
            h = h + self.time(functional.silu(embedding))[:, :, None, None]
        h = functional.interpolate(self.transformer(h), size=size, mode="nearest")
        return self.up(self.norm_out(h))


class AdaptedDenoiser(AddedDenoiser):
    """A frozen U-Net with an adaptor beside every ResNet and attention block, and at its end."""

    def __init__(
        self, unet: ModelMixin, config: AdaptorConfig, convention: Convention = PLAIN
    ) -> None:
        super().__init__(unet, convention, config.t_limit)
        self.adaptors = nn.ModuleDict()
        for name, block in _blocks(unet):
            adaptor = _adaptor_for(block, config)
            self.adaptors[name.replace(".", "-")] = adaptor
            block.register_forward_hook(_Parallel(adaptor, self.gate), with_kwargs=True)


class _Parallel:
    """A forward hook that adds the adaptor's output to its block's."""

    def __init__(self, adaptor: Adaptor, gate: Gate) -> None:
        self.adaptor, self.gate = adaptor, gate

    def __call__(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        if self.gate.silent:
            return output
        if isinstance(output, tuple):  # as a Transformer2DModel gives it
            return self(block, args, kwargs, output[0]), *output[1:]
        embedding = None
        if isinstance(block, ResnetBlock2D):
            embedding = args[1] if len(args) > 1 else kwargs.get("temb")
        return self.gate.let(output, self.adaptor(args[0], embedding, output.shape[-2:]))


def _blocks(unet: ModelMixin) -> Iterator[tuple[str, nn.Module]]:
    """Where adaptors go: ResNet blocks, attention blocks, last hidden map to output.

    A transformer of a text-conditional network counts as one block: inside it there are tokens.
    """
    transformers = [n for n, module in unet.named_modules() if _is_transformer(module)]
    inside = tuple(f"{name}." for name in transformers)
    for name, module in unet.named_modules():
        block = isinstance(module, ResnetBlock2D | Attention) or _is_transformer(module)
        if block and not name.startswith(inside):
            yield name, module
    yield "conv_out", unet.conv_out


def _is_transformer(module: nn.Module) -> bool:
    return isinstance(module, Transformer2DModel)


def _adaptor_for(block: nn.Module, config: AdaptorConfig) -> Adaptor:
    if isinstance(block, ResnetBlock2D):
        # Under scale-shift the block's own projection is twice as wide, its input is not.
        embedding = block.time_emb_proj.in_features if block.time_emb_proj is not None else None
        return Adaptor(block.in_channels, block.out_channels, embedding, config)
    if isinstance(block, Attention):
        channels = block.query_dim
        return Adaptor(channels, channels, None, config)
    return Adaptor(block.in_channels, block.out_channels, None, config)  # type: ignore[arg-type]


def _build(
    unet: ModelMixin, settings: AdaptorConfig, convention: Convention, seed: int
) -> AdaptedDenoiser:
    with seeded(seed):
        return AdaptedDenoiser(unet, settings, convention)


CHOICE = Choice(
    "adaptors, small modules beside the blocks of the frozen network",
    _build,
    tables={"adaptor": AdaptorConfig},
    defaults={"training": {"learning_rate": 5e-4}},
)
