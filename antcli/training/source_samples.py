"""What the frozen source draws, and images as the source diffuses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from antcli.diffusion.examples import Examples, Latents, Pixels
from antcli.images.grid import to_float, to_uint8
from antcli.methods.choice import Predict
from antcli.methods.trainable.denoiser import Denoiser
from antcli.sources.source import Source


@dataclass(frozen=True)
class SourceSamples:
    """So many of the source's own images were drawn, to compare the target's with."""

    done: int
    total: int


def examples_of(
    source: Source, images: Tensor, device: torch.device | str, *, flip: bool = True
) -> Examples:
    """x_0 of images, uint8 [N, 3, H, W]; with `flip`, of their mirror images too."""
    if not source.latent:
        return Pixels(images)
    codec = source.codec(device)
    mirrored = codec.encode(to_float(images.flip(-1))) if flip else None
    return Latents(codec.encode(to_float(images)), mirrored)


def images_of(source: Source, x_0: Tensor, device: torch.device | str) -> Tensor:
    """Images, uint8 [N, 3, H, W] on the CPU, of x_0 as `Examples` keeps it."""
    if not source.latent:
        return x_0.cpu()
    return to_uint8(source.codec(device).decode(x_0.to(device)).cpu())


def source_predict(source: Source, accelerator: Accelerator) -> Predict:
    """Eps of the frozen source, as samples are drawn from it."""
    network = Denoiser(source.load(), source.convention)
    return predicting(network.to(accelerator.device), accelerator)


def predicting(network: Denoiser, accelerator: Accelerator) -> Callable[..., Tensor]:
    """The `guided` of a network that does not train meanwhile."""

    @torch.no_grad()
    def predict(x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        with accelerator.autocast():  # not around a generator, which would leave it on meanwhile
            return network.guided(x_t, t, condition)

    return predict


def sample_x_0(
    source: Source, seeds: Sequence[int], steps: int, accelerator: Accelerator
) -> Iterator[Tensor]:
    """Samples x_0 of the source, in batches [B, C, H, W] on the device."""
    predict = source_predict(source, accelerator)
    yield from source.sample(predict, seeds, steps=steps, device=accelerator.device)


def sample_source(
    source: Source, seeds: Sequence[int], steps: int, accelerator: Accelerator
) -> Iterator[Tensor]:
    """The same as images, uint8 [B, 3, H, W], on the CPU."""
    codec = source.codec(accelerator.device)
    for x_0 in sample_x_0(source, seeds, steps, accelerator):
        yield to_uint8(codec.decode(x_0).cpu())
