"""The source's own feature space: what its encoder sees in an image with a little noise.

It needs no download and knows the source's domain. That the inside of a denoiser describes
images well, best at low noise, is from D. Baranchuk et al., "Label-Efficient Semantic
Segmentation with Diffusion Models", ICLR 2022 (arXiv 2112.03126). Noise level, maps and pooling
were chosen by measurement: benchmarks/results/source_features.md.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from antcli.images.grid import to_float
from antcli.randomness import normal
from antcli.sources.encoder import Encoder
from antcli.sources.source import Source

NOISE_LEVEL = 0.1
"""The timestep at which the source sees the images, as a share of T."""
SEED = 0


class SourceSpace:
    """Root mean squares over the pixels of each channel of the encoder's maps.

    The maps are the outputs of the U-Net's down blocks and of its mid block, for
    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps with the same eps for every image;
    x_0 is the image, or its latent where the source diffuses latents.
    D is the number of their channels: 336 for `avatars`, 2304 for a usual DDPM of 256 pixels.
    """

    def __init__(
        self,
        source: Source,
        device: torch.device | str = "cpu",
        *,
        noise_level: float = NOISE_LEVEL,
    ) -> None:
        """Load the encoder. Raises `AntError` where the source's weights are damaged."""
        self.t = source.path.at(noise_level)
        self._device = torch.device(device)
        self._size = source.size
        self.codec = source.codec(self._device)
        """Between images and x_0."""
        self._eps = normal(SEED, "source-features", 0, [0], source.shape).to(self._device)
        self._encoder = Encoder(source.load(), source.convention).to(self._device)
        self.dimension = sum(self._encoder.channels)
        self.label = (
            f"source {Path(source.name).resolve().name} (sha256:{source.sha256[:8]}, t={self.t}, "
            f"rms of {len(self._encoder.channels)} encoder maps)"
        )
        self.definition: dict[str, object] = {
            "space": "source",
            "source": source.name,
            "weights_sha256": source.sha256,
            "t": self.t,
            "noise": f"the same for every image, seed {SEED}",
            "maps": "outputs of the down blocks and of the mid block",
            "pooling": "root mean square over pixels",
            "size": source.size,
            "resize": "bilinear, antialiased",
            "dimension": self.dimension,
        }

    def __call__(self, images: Tensor) -> Tensor:
        """Features [B, D], float32, of images uint8 [B, 3, H, W]."""
        return torch.cat([y.square().mean((2, 3)).sqrt() for y in self.maps(images)], dim=1)

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """The encoder's maps, each [B, C, H', W'], of images uint8 [B, 3, H, W]."""
        pixels, size = to_float(images.to(self._device)), (self._size, self._size)
        if pixels.shape[2:] != size:
            pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
        x_0 = self.codec.encode(pixels)
        t = torch.full((len(x_0),), self.t, device=self._device)
        with torch.autocast(self._device.type, enabled=False):  # one label, one precision
            path = self._encoder.convention.path
            return self._encoder(path.add_noise(x_0, self._eps, t), t)
