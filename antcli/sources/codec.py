"""What lies between images and x_0: nothing, or an autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, VQModel
from torch import Tensor

from antcli.diffusion.sampling import images_at_once
from antcli.errors import AntError
from antcli.sources.files import find_weights, load_frozen, read_config

FOLDERS = ("vae", "vqvae")
KINDS = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny, VQModel)}


class Codec(Protocol):
    """From images to what a source diffuses, and back."""

    def encode(self, images: Tensor) -> Tensor:
        """x_0 of images [B, 3, H, W] in [-1, 1]."""
        ...

    def decode(self, x_0: Tensor) -> Tensor:
        """Images [B, 3, H, W] of x_0; they may leave [-1, 1] a little."""
        ...


class Pixels:
    """The codec of a source that diffuses the images themselves."""

    def encode(self, images: Tensor) -> Tensor:
        """The images."""
        return images

    def decode(self, x_0: Tensor) -> Tensor:
        """The same."""
        return x_0


class Latents:
    """An autoencoder of diffusers, scaled as its pipelines scale it.

    x_0 = (z - shift) * scale: z is a VQModel's latent before quantisation, which its decoder
    does, and the mode of an AutoencoderKL's posterior, so that an image has one x_0.
    """

    def __init__(self, autoencoder: Any, device: torch.device | str = "cpu") -> None:
        config = autoencoder.config
        self.scale = float(config["scaling_factor"])
        self.shift = float(config.get("shift_factor") or 0.0)
        self.factor = _factor(config)
        self._autoencoder = autoencoder.to(device)
        self._device = torch.device(device)

    def encode(self, images: Tensor) -> Tensor:
        """x_0 [B, c, H/f, W/f] of images [B, 3, H, W] in [-1, 1], on their device."""
        z = self._in_parts(self._latent, images, images_at_once(images.shape))
        return (z - self.shift) * self.scale

    def decode(self, x_0: Tensor) -> Tensor:
        """Images [B, 3, H, W] of x_0, on its device."""
        z = x_0.float() / self.scale + self.shift
        pixels = [side * self.factor for side in x_0.shape[-2:]]
        return self._in_parts(self._image, z, images_at_once(pixels))

    def _image(self, z: Tensor) -> Tensor:
        return self._autoencoder.decode(z).sample

    def _latent(self, images: Tensor) -> Tensor:
        encoded = self._autoencoder.encode(images)
        if hasattr(encoded, "latent_dist"):
            return encoded.latent_dist.mode()
        return encoded.latents

    @torch.no_grad()
    def _in_parts(self, work: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
        """An autoencoder's maps at full resolution take far more memory than its images."""
        with torch.autocast(self._device.type, enabled=False):
            parts = [work(part.to(self._device, torch.float32)) for part in x.split(size)]
        return torch.cat(parts).to(x.device)


@dataclass(frozen=True)
class Autoencoder:
    """The autoencoder of a latent source, before its weights are loaded."""

    kind: type
    config: dict[str, Any]
    weights: Path

    @property
    def factor(self) -> int:
        """f: pixels across for each element of a latent."""
        return _factor(self.config)

    @property
    def channels(self) -> int:
        """Of a latent."""
        return int(self.config.get("vq_embed_dim") or self.config["latent_channels"])

    def load(self, device: torch.device | str = "cpu") -> Latents:
        """Ready on `device`. Raises `AntError` where its weights are damaged."""
        return Latents(load_frozen(self.kind, self.weights), device)


def find_autoencoder(folder: Path, name: str) -> Autoencoder | None:
    """The autoencoder in `vae/` or `vqvae/` of a source's folder; None where it has none."""
    inner = next((folder / f for f in FOLDERS if (folder / f / "config.json").exists()), None)
    if inner is None:
        return None
    config = read_config(inner / "config.json", name)
    kind = config.get("_class_name")
    if kind not in KINDS:
        raise AntError(
            f"source {name} has a {kind} in {inner.name}/", f"known are {', '.join(KINDS)}"
        )
    return Autoencoder(KINDS[str(kind)], config, find_weights(inner, name))


def _factor(config: Mapping[str, Any]) -> int:
    """Each level of an autoencoder but the last halves the map."""
    widths = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return int(2 ** (len(widths) - 1))
