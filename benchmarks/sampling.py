"""What a thousand images cost, and what 16 bits change in them.

    python benchmarks/sampling.py RUN [--images 64] [--steps 10 25]

Draws the first images of a run and of its source in float32, as `ant sample` does, and in bf16
from the same noise: seconds of processors, told for a thousand images, and by how many grey levels
of 255 an image differs in the mean over its places. Writes benchmarks/results/sampling.md.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import torch
from ablation import HERE
from rows import provenance
from table import made_by
from torch import Tensor

from antcli.config import Precision
from antcli.devices import make_accelerator
from antcli.evaluation.samples import check_run_source, load_adapted
from antcli.images.grid import to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs import Run
from antcli.sources.source import Source

RESULT = HERE / "results" / "sampling.md"
THOUSAND = 1000


def drawn(
    source: Source, network: Denoiser, count: int, steps: int, precision: Precision
) -> tuple[Tensor, float]:
    """Images as uint8, and seconds of processors for each."""
    accelerator = make_accelerator("auto", precision)
    network, codec = network.to(accelerator.device), source.codec(accelerator.device)
    began = time.process_time()
    with torch.no_grad(), accelerator.autocast():
        batches = source.sample(network, range(count), steps=steps, device=accelerator.device)
        images = torch.cat([to_uint8(codec.decode(x_0).float().cpu()) for x_0 in batches])
    return images, (time.process_time() - began) / count


def row(name: str, source: Source, network: Denoiser, count: int, steps: int) -> str:
    """A line of the table."""
    whole, seconds = drawn(source, network, count, steps, "no")
    halved, quicker = drawn(source, network, count, steps, "bf16")
    apart = (whole.float() - halved.float()).abs().flatten(1).mean(1)
    cells = [name, str(steps), f"{THOUSAND * seconds:.0f}", f"{THOUSAND * quicker:.0f}"]
    cells += [f"{x:.2f}" for x in (apart.mean(), apart.median(), apart.max())]
    cells.append(f"{(apart > 2).float().mean():.0%}")
    return "| " + " | ".join(cells) + " |\n"


def main() -> None:
    """Measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 25])
    asked = parser.parse_args()
    run = Run(asked.run)
    source = check_run_source(run)
    networks: dict[str, Denoiser] = {
        source.name: Denoiser(source.load(), source.convention),
        run.folder.name: load_adapted(run, source),
    }
    heads = ["model", "steps", "s for 1,000, float32", "s for 1,000, bf16"]
    heads += ["mean difference", "median", "most", "images beyond 2 levels"]
    text = "# What a thousand images cost\n\n| " + " | ".join(heads) + " |\n"
    text += "|---" * len(heads) + "|\n"
    for steps, (name, network) in itertools.product(asked.steps, networks.items()):
        text += row(name, source, network, asked.images, steps)
        facts: list[dict[str, Any]] = [provenance()]
        RESULT.write_text(text + f"\nOf {asked.images} images each. " + made_by(facts))
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
