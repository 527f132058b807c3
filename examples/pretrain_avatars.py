"""Train the source model `avatars` from nothing, on 40,000 drawings.

    python examples/pretrain_avatars.py OUT [--steps 3600] [--seed 0]

OUT becomes a diffusers folder that `ant adapt --source OUT` takes. The same command again goes
on where it was cut. About one second a step on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy
import torch

from antcli.diffusion.examples import Pixels
from antcli.drawn_faces.domains import avatar
from antcli.training.pretraining import PRETRAINING, pretrain_logged

DRAWINGS = 40_000
SIZE = 32


def main() -> None:
    """Draw, train, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=PRETRAINING.steps)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    pixels = numpy.stack([numpy.asarray(avatar(i, SIZE)[0]) for i in range(DRAWINGS)])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    config = replace(PRETRAINING, steps=chosen.steps)
    pretrain_logged(Pixels(images), chosen.out, config, chosen.seed)


if __name__ == "__main__":
    main()
