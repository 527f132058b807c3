"""Train the source model `avatars` from nothing, on drawings made on the way.

    python examples/pretrain_avatars.py OUT [--steps 3600] [--seed 0]

OUT becomes a diffusers folder that `ant adapt --source OUT` takes. The same command again
goes on where it was cut. About one second a step on two cores.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy
import torch
from accelerate import Accelerator

from antcli.images.avatars import avatar
from antcli.training.pretraining import PRETRAINING, pretrain

DRAWINGS = 40_000
SIZE = 32


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--steps", type=int, default=PRETRAINING.steps)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--mixed-precision", default="bf16")
    chosen = arguments.parse_args()
    config = replace(PRETRAINING, steps=chosen.steps)

    pixels = numpy.stack([numpy.asarray(avatar(i, SIZE)[0]) for i in range(DRAWINGS)])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    accelerator = Accelerator(mixed_precision=chosen.mixed_precision)
    chosen.out.mkdir(parents=True, exist_ok=True)
    with (chosen.out / "log.jsonl").open("a") as log:
        for record in pretrain(images, chosen.out, config, accelerator, chosen.seed):
            if record.step % 20 == 0:
                log.write(json.dumps(asdict(record)) + "\n")
                log.flush()


if __name__ == "__main__":
    main()
