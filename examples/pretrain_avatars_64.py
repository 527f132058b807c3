"""Train the latent source `avatars-64` from nothing: an autoencoder, then a U-Net of its latents.

    python examples/pretrain_avatars_64.py OUT [--codec-steps 12000] [--steps 3600] [--seed 0]

OUT becomes a diffusers folder that `ant adapt --source OUT` takes. The same command again goes
on where it was cut. An hour on two cores, and a quarter of one to draw the pictures.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from antcli.devices import make_accelerator
from antcli.diffusion import examples
from antcli.drawn_faces.domains import avatar
from antcli.images.grid import to_float
from antcli.sources.codec import LatentCodec
from antcli.training.autoencoder import AUTOENCODER, train_autoencoder
from antcli.training.pretraining import PRETRAINING, latent_model, pretrain_logged, write_log

DRAWINGS = 20_000
SIZE = 64


def drawings() -> Tensor:
    """uint8 [N, 3, 64, 64]."""
    pixels = [
        torch.frombuffer(bytearray(avatar(i, SIZE)[0].tobytes()), dtype=torch.uint8)
        for i in range(DRAWINGS)
    ]
    return torch.stack(pixels).view(DRAWINGS, SIZE, SIZE, 3).permute(0, 3, 1, 2).contiguous()


def codec(images: Tensor, folder: Path, steps: int, seed: int) -> AutoencoderKL:
    """The autoencoder, trained if it is not there yet."""
    if not (folder / "config.json").exists():
        accelerator = make_accelerator("auto", "auto")
        config = replace(AUTOENCODER, steps=steps)
        records = train_autoencoder(images, folder, config, accelerator, seed)
        write_log(records, folder / "log.jsonl", accelerator)
    return AutoencoderKL.from_pretrained(folder).eval()


def main() -> None:
    """Draw, train both, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--codec-steps", type=int, default=AUTOENCODER.steps)
    parser.add_argument("--steps", type=int, default=PRETRAINING.steps)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    images = drawings()
    autoencoder = codec(images, chosen.out / "codec", chosen.codec_steps, chosen.seed)
    latents = LatentCodec(autoencoder)
    x_0 = torch.cat([latents.encode(to_float(batch)) for batch in images.split(100)])
    model = latent_model(autoencoder, x_0.shape[-1], chosen.seed)
    # A latent cannot be flipped as an image can; the drawings lean to both sides by themselves.
    config = replace(PRETRAINING, steps=chosen.steps, flip=False)
    pretrain_logged(examples.Latents(x_0), chosen.out, config, chosen.seed, model)


if __name__ == "__main__":
    main()
