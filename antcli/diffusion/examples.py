"""Images that a network learns from, as x_0: pixels or latents, mirror images included."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def moved(x: Tensor, device: torch.device) -> Tensor:
    """`x` on a device; of a GPU, on its way there, while the host goes on."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


@dataclass(frozen=True)
class Examples:
    """`Pixels` or `Latents`: as many x_0 as it is long, each with its mirror image."""

    x_0: Tensor
    """[N, C, H, W], as it is kept; `take` gives what is learnt from."""

    def __len__(self) -> int:
        return len(self.x_0)

    def take(self, chosen: Tensor, mirror: Tensor) -> Tensor:
        """x_0 of the `chosen` images [B], float32; of their mirror images where `mirror`."""
        raise NotImplementedError

    def part(self, chosen: Tensor) -> Examples:
        """Some of them."""
        raise NotImplementedError


@dataclass(frozen=True)
class Pixels(Examples):
    """Of images: uint8 in 0..255, taken as [-1, 1]."""

    def take(self, chosen: Tensor, mirror: Tensor) -> Tensor:
        """Pixels are mirrored as they are."""
        x_0 = self.x_0[chosen].float() / 127.5 - 1
        return torch.where(mirror[:, None, None, None], x_0.flip(-1), x_0)

    def part(self, chosen: Tensor) -> Pixels:
        """Some of them."""
        return Pixels(self.x_0[chosen])


@dataclass(frozen=True)
class Latents(Examples):
    """Of images by an autoencoder: the latent of a mirror image is not the latent, mirrored."""

    mirrored: Tensor | None = None
    """Of the images' mirror images, in the same order; None: there are none to be taken."""

    def take(self, chosen: Tensor, mirror: Tensor) -> Tensor:
        """Raises `ValueError` where a mirror image is asked for that is not there."""
        if self.mirrored is None:
            # What a device holds is not looked at, or the host would wait for it in each step.
            if mirror.device.type == "cpu" and mirror.any():
                raise ValueError("these latents have no mirror images")
            return self.x_0[chosen]
        return torch.where(mirror[:, None, None, None], self.mirrored[chosen], self.x_0[chosen])

    def part(self, chosen: Tensor) -> Latents:
        """Some of them."""
        mirrored = None if self.mirrored is None else self.mirrored[chosen]
        return Latents(self.x_0[chosen], mirrored)
