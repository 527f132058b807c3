"""The noisy ImageNet classifiers of guided-diffusion, from which the ANT paper fine-tunes its own.

Half a U-Net with attention, read out by an attention pool (Dhariwal and Nichol 2021, arXiv
2105.05233, section 4 and appendix). Modules have the names that the published weights have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers.models.embeddings import Timesteps
from torch import Tensor, nn
from torch.nn import functional

from antcli.methods.classifier import Classifier

GROUPS = 32
"""Of every group norm."""
CHANNELS = 3
"""Of the images."""
HEAD = "out.2.c_proj."
"""The weights that follow from the classes."""


@dataclass(frozen=True)
class EncoderShape:
    """What the weights of a classifier are made for."""

    size: int
    """Side of its images in pixels."""
    depth: int
    """ResNet blocks of a level."""
    multipliers: tuple[int, ...]
    """Channels of each level, in `width`s; from one level to the next the map is halved."""
    attention: tuple[int, ...] = (32, 16, 8)
    """Sides of the maps that have attention."""
    width: int = 128
    head_channels: int = 64


PUBLISHED = {
    64: EncoderShape(64, depth=4, multipliers=(1, 2, 3, 4)),
    256: EncoderShape(256, depth=2, multipliers=(1, 1, 2, 2, 4, 4)),
}
"""`64x64_classifier.pt` and `256x256_classifier.pt`, by the side of their images."""


class ImageNetClassifier(Classifier):
    """An encoder with the shape of a published classifier, and as many `classes` as asked for."""

    def __init__(self, shape: EncoderShape, timesteps: int = 1000, classes: int = 2) -> None:
        super().__init__(shape.size, timesteps, CHANNELS)
        self.shape = shape
        embedding = 4 * shape.width
        self.frequencies = Timesteps(shape.width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embed = nn.Sequential(
            nn.Linear(shape.width, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.input_blocks, channels, side = _down(shape, embedding)
        self.middle_block = nn.ModuleList(
            [
                ResNetBlock(channels, channels, embedding),
                AttentionBlock(channels, shape.head_channels),
                ResNetBlock(channels, channels, embedding),
            ]
        )
        pool = AttentionPool(channels, side, shape.head_channels, classes)
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), pool)

    def logits(self, x_t: Tensor, t: Tensor) -> Tensor:
        """[B, 3, H, W] and [B] to logits [B, classes]."""
        embedding = self.time_embed(self.frequencies(t).to(x_t.dtype))
        h = x_t
        for layers in (*self.input_blocks, self.middle_block):
            for layer in layers:
                h = layer(h, embedding) if isinstance(layer, ResNetBlock) else layer(h)
        return self.out(h)


def _down(shape: EncoderShape, embedding: int) -> tuple[nn.ModuleList, int, int]:
    """The layers on the way down, the channels at its end, and the side of the map there."""
    blocks = [nn.ModuleList([nn.Conv2d(CHANNELS, shape.width, 3, padding=1)])]
    channels, side = shape.width, shape.size
    for level, multiplier in enumerate(shape.multipliers):
        if level:
            blocks.append(nn.ModuleList([ResNetBlock(channels, channels, embedding, halve=True)]))
            side //= 2
        for _ in range(shape.depth):
            layers = nn.ModuleList([ResNetBlock(channels, multiplier * shape.width, embedding)])
            channels = multiplier * shape.width
            if side in shape.attention:
                layers.append(AttentionBlock(channels, shape.head_channels))
            blocks.append(layers)
    return nn.ModuleList(blocks), channels, side


class ResNetBlock(nn.Module):
    """Two 3x3 convolutions around a norm that the time scales and shifts; may halve the map."""

    def __init__(self, inputs: int, outputs: int, embedding: int, halve: bool = False) -> None:
        super().__init__()
        self.halve = nn.AvgPool2d(2) if halve else nn.Identity()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * outputs))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, outputs),
            nn.SiLU(),
            nn.Identity(),  # in the place of dropout, which published classifiers do without
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        same = inputs == outputs
        self.skip_connection = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """[B, C, H, W] and [B, E] to [B, C', H, W], or half that high and wide."""
        norm, activation, conv = self.in_layers
        inner = conv(self.halve(activation(norm(h))))
        norm, *rest = self.out_layers
        scale, shift = self.emb_layers(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = norm(inner) * (1 + scale) + shift
        for layer in rest:
            inner = layer(inner)
        return self.skip_connection(self.halve(h)) + inner


class AttentionBlock(nn.Module):
    """Self-attention over the map, added to it."""

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        # Rows by head and then q, k, v: the order that guided-diffusion calls legacy.
        qkv = self.qkv(self.norm(h.flatten(2))).unflatten(1, (self.heads, 3, -1))
        attended = _attend(*qkv.unbind(2))
        return h + self.proj_out(attended).view_as(h)


class AttentionPool(nn.Module):
    """One vector of logits for a map: what its mean, as a token, attends to."""

    def __init__(self, channels: int, side: int, head_channels: int, classes: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        tokens = torch.randn(channels, side**2 + 1) / math.sqrt(channels)
        self.positional_embedding = nn.Parameter(tokens)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, classes, 1)

    def forward(self, h: Tensor) -> Tensor:
        """[B, C, side, side] to [B, classes]."""
        tokens = h.flatten(2)
        tokens = torch.cat([tokens.mean(2, keepdim=True), tokens], dim=2)
        qkv = self.qkv_proj(tokens + self.positional_embedding)
        # Here, unlike in the blocks, by q, k, v and then head.
        q, k, v = qkv.unflatten(1, (3, self.heads, -1)).unbind(1)
        return self.c_proj(_attend(q[..., :1], k, v))[..., 0]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of [B, heads, c, N] each, to [B, heads c, N] for the N of q."""
    q, k, v = (part.transpose(2, 3) for part in (q, k, v))
    attended = functional.scaled_dot_product_attention(q, k, v)
    return attended.transpose(2, 3).flatten(1, 2)
