"""Train a conditional source on six tasks of drawn faces, to be told of people in many columns.

    python examples/pretrain_avatars_tasks.py OUT [--steps 3600] [--seed 0]

The setting of Cheng et al. (2025): every task draws people of one hair style, and what is known of
a person are 64 columns of numbers of which ten directions show in the picture, the same in all
tasks (`antcli/drawn_faces/tasks.py`). One network learns all of them; six columns more tell which
task it is. What it makes of the columns, its `class_embedding`, is the representation h that other
tasks share. OUT becomes a folder that `ant adapt --source OUT` takes. The same command again goes
on where it was cut. About one second a step on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy
import torch
from torch import Tensor

from antcli.diffusion.examples import Pixels
from antcli.drawn_faces.tasks import COLUMNS, SOURCE_TASKS, example
from antcli.training.pretraining import PRETRAINING, pixel_model, pretrain_logged

DRAWINGS = 40_000
SIZE = 32


def drawings(count: int) -> tuple[Tensor, Tensor]:
    """Images uint8 [count, 3, 32, 32] of all tasks in turn, and columns [count, 70]."""
    pixels, columns = [], []
    for i in range(count):
        place = i % len(SOURCE_TASKS)
        image, known = example(i, SOURCE_TASKS[place], SIZE)
        which = [float(k == place) - 1 / len(SOURCE_TASKS) for k in range(len(SOURCE_TASKS))]
        pixels.append(numpy.asarray(image))
        columns.append([*known, *which])
    images = torch.from_numpy(numpy.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(columns)


def main() -> None:
    """Draw, train, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=PRETRAINING.steps)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    images, columns = drawings(DRAWINGS)
    model = pixel_model(SIZE, chosen.seed, columns=COLUMNS + len(SOURCE_TASKS))
    config = replace(PRETRAINING, steps=chosen.steps)
    pretrain_logged(Pixels(images), chosen.out, config, chosen.seed, model, columns)


if __name__ == "__main__":
    main()
