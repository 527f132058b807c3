"""What lies between images and x_0: nothing, or an autoencoder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, VQModel
from torch import Tensor

from antcli.diffusion.sampling import images_at_once
from antcli.errors import AntError, AntWarning
from antcli.sources.files import find_weights, load_frozen, read_config

FOLDERS = ("vae", "vqvae")
SCALE = "scaling_factor"
VQ_SCALE = 1.0
"""Of CompVis' VQ autoencoders: of a `VQModel` that states none, since old versions of diffusers
did not write it. diffusers' default, 0.18215, is that of Stable Diffusion's KL autoencoder."""
LEAST_SPREAD, MOST_SPREAD = 1 / 3, 3.0
"""Standard deviations of latents that raise no question: those of all published sources are near
1, those of few or plain images within a factor of 2, and a forgotten scale is one of 5."""
KINDS = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny, VQModel)}


class Codec(Protocol):
    """From images to what a source diffuses, and back."""

    def encode(self, images: Tensor) -> Tensor:
        """x_0 of images [B, 3, H, W] in [-1, 1]."""
        ...

    def decode(self, x_0: Tensor) -> Tensor:
        """Images [B, 3, H, W] of x_0; they may leave [-1, 1] a little."""
        ...


class PixelCodec:
    """The codec of a source that diffuses the images themselves."""

    def encode(self, images: Tensor) -> Tensor:
        """The images."""
        return images

    def decode(self, x_0: Tensor) -> Tensor:
        """The same."""
        return x_0


class LatentCodec:
    """An autoencoder of diffusers, scaled as its pipelines scale it.

    x_0 = (z - shift) * scale: z is a VQModel's latent before quantisation, which its decoder
    does, and the mode of an AutoencoderKL's posterior, so that an image has one x_0.
    """

    def __init__(self, autoencoder: Any, device: torch.device | str = "cpu") -> None:
        config = autoencoder.config
        self.scale = float(config[SCALE])
        self.shift = float(config.get("shift_factor") or 0.0)
        self.factor = _factor(config)
        self._autoencoder = autoencoder.to(device)
        self._device = torch.device(device)
        self._checked = False

    def encode(self, images: Tensor) -> Tensor:
        """x_0 [B, c, H/f, W/f] of images [B, 3, H, W] in [-1, 1], on their device.

        Warns at the first images whose latents are far from the unit scale of the noise.
        """
        z = self._in_parts(self._latent, images, images_at_once(images.shape, self._device))
        x_0 = (z - self.shift) * self.scale
        self._check_spread(x_0)
        return x_0

    def decode(self, x_0: Tensor) -> Tensor:
        """Images [B, 3, H, W] of x_0, on its device."""
        z = x_0.float() / self.scale + self.shift
        pixels = [side * self.factor for side in x_0.shape[-2:]]
        return self._in_parts(self._image, z, images_at_once(pixels, self._device))

    def _check_spread(self, x_0: Tensor) -> None:
        if self._checked:  # and roughly told, so that Python shows the same line once
            return
        self._checked, spread = True, x_0.std().item()
        if not LEAST_SPREAD < spread < MOST_SPREAD:
            warnings.warn(
                f"the latents of these images have a standard deviation of {spread:.1g}, where a "
                f"source of latents has about 1: the scaling_factor {self.scale:g} in the config "
                "of its autoencoder may be wrong, and then its images are too",
                AntWarning,
                stacklevel=3,
            )

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

    def network(self) -> Any:
        """Itself, on the CPU. Raises `AntError` where its weights are damaged."""
        known = {name: self.config[name] for name in (SCALE,) if name in self.config}
        return load_frozen(self.kind, self.weights, **known)

    def load(self, device: torch.device | str = "cpu") -> LatentCodec:
        """Ready on `device`. Raises `AntError` where its weights are damaged."""
        return LatentCodec(self.network(), device)


def find_autoencoder(folder: Path, name: str, scale: float | None = None) -> Autoencoder | None:
    """The autoencoder in `vae/` or `vqvae/` of a source's folder; None where it has none.

    `scale` is that of its latents where it is known better than its config tells.
    """
    inner = next((folder / f for f in FOLDERS if (folder / f / "config.json").exists()), None)
    if inner is None:
        return None
    config = read_config(inner / "config.json", name)
    kind = config.get("_class_name")
    if kind not in KINDS:
        raise AntError(
            f"source {name} has a {kind} in {inner.name}/", f"known are {', '.join(KINDS)}"
        )
    if scale is not None:
        config[SCALE] = scale
    elif kind == VQModel.__name__ and config.get(SCALE) is None:
        config[SCALE] = VQ_SCALE
        warnings.warn(
            f"the {kind} of source {name} states no {SCALE}: {VQ_SCALE} is taken, as CompVis' have "
            "it; a pipeline of diffusers takes 0.18215",
            AntWarning,
            stacklevel=2,
        )
    return Autoencoder(KINDS[str(kind)], config, find_weights(inner, name))


def _factor(config: Mapping[str, Any]) -> int:
    """Each level of an autoencoder but the last halves the map."""
    widths = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return int(2 ** (len(widths) - 1))
