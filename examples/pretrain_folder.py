"""Train a small source model from nothing on a folder of images.

    python examples/pretrain_folder.py IMAGES OUT [--size 32] [--steps 3600] [--seed 0]

OUT becomes a diffusers folder that `ant adapt --source OUT` takes. The same command again goes
on where it was cut.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from antcli.diffusion.examples import Pixels
from antcli.images.folder import read_folder
from antcli.training.pretraining import PRETRAINING, pretrain_logged


def main() -> None:
    """Read the images, train, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=PRETRAINING.steps)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    images = read_folder(chosen.images, chosen.size).images
    config = replace(PRETRAINING, steps=chosen.steps)
    pretrain_logged(Pixels(images), chosen.out, config, chosen.seed)


if __name__ == "__main__":
    main()
