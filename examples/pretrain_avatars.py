"""Train the source model `avatars`, on drawings.

    python examples/pretrain_avatars.py OUT [--steps 3600] [--seed 0]
    python examples/pretrain_avatars.py MORE --start OUT --seed 1

OUT becomes a diffusers folder that `ant adapt --source OUT` takes, trained from nothing on 40,000
drawings. With `--start` the network of such a folder goes on learning, at half the rate, on 80,000:
these and as many others. The same command again goes on where it was cut. About one second a step
on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy
import torch

from antcli.diffusion.examples import Pixels
from antcli.drawn_faces.domains import avatar
from antcli.sources.source import find_source
from antcli.training.pretraining import PRETRAINING, pixel_model, pretrain_logged

DRAWINGS = 40_000
SIZE = 32


def main() -> None:
    """Draw, train, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", help="A folder that this wrote, or the name of a source.")
    parser.add_argument("--steps", type=int, default=PRETRAINING.steps)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    model, drawings = pixel_model(SIZE, chosen.seed), DRAWINGS
    config = replace(PRETRAINING, steps=chosen.steps)
    if chosen.start:
        model.unet.load_state_dict(find_source(chosen.start).load().state_dict())
        config, drawings = replace(config, learning_rate=config.learning_rate / 2), 2 * DRAWINGS
    pixels = numpy.stack([numpy.asarray(avatar(i, SIZE)[0]) for i in range(drawings)])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    pretrain_logged(Pixels(images), chosen.out, config, chosen.seed, model)


if __name__ == "__main__":
    main()
