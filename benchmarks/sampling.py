"""What a thousand images cost, and what 16 bits change in them.

    python benchmarks/sampling.py RUN [--images 16] [--steps 10]

Draws the first images of a run and of its source in float32, as `ant sample` does, and from the
same noise in bf16, everywhere on the path or where a share of it is left: seconds of processors,
told for a thousand images, and by how many grey levels of 255 an image differs from that of
float32, in the mean over its places. Writes benchmarks/results/sampling.md.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import torch
from ablation import HERE
from rows import provenance
from table import made_by
from torch import Tensor

from antcli.images.grid import to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources.source import Source

RESULT = HERE / "results" / "sampling.md"
SHARES = (0.0, 0.5, 0.7, 1.0)
"""Of the path, below which the network is asked in bf16; none of it is float32."""
MOST = 2
"""Grey levels by which an image may differ."""
THOUSAND = 1000
HEADS = ("model", "steps", "bf16 below", "s for 1,000", "mean difference", "median", "most")


def drawn(
    source: Source, network: Denoiser, count: int, steps: int, share: float
) -> tuple[Tensor, float]:
    """Images as uint8, and seconds of processors for each."""

    @torch.no_grad()
    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        halved = share > 0 and bool((t < source.path.limit(share)).all())
        with torch.autocast("cpu", torch.bfloat16, enabled=halved):
            return network.guided(x_t, t).float()

    began = time.process_time()
    with network.settled():
        batches = source.sample(predict, range(count), steps=steps)
        images = torch.cat([to_uint8(source.codec().decode(x_0)) for x_0 in batches])
    return images, (time.process_time() - began) / count


def lines(name: str, source: Source, network: Denoiser, count: int, steps: int) -> str:
    """A line of the table for each share."""
    text, whole = "", torch.empty(0)
    for share in SHARES:
        images, seconds = drawn(source, network, count, steps, share)
        whole = images.float() if share == 0 else whole
        apart = (whole - images.float()).abs().flatten(1).mean(1)
        cells = [name, str(steps), f"{share:g} T", f"{THOUSAND * seconds:.0f}"]
        cells += [f"{x:.2f}" for x in (apart.mean(), apart.median(), apart.max())]
        cells.append(f"{(apart > MOST).float().mean():.0%}")
        text += "| " + " | ".join(cells) + " |\n"
    return text


def main() -> None:
    """Measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, nargs="+", default=[10])
    asked = parser.parse_args()
    run = Run(asked.run)
    source = check_run_source(run)
    networks: dict[str, Denoiser] = {
        source.name: Denoiser(source.load(), source.convention),
        run.folder.name: load_adapted(run, source),
    }
    heads = (*HEADS, f"images beyond {MOST} levels")
    text = "# What a thousand images cost\n\n"
    text += "| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|\n"
    for steps, (name, network) in itertools.product(asked.steps, networks.items()):
        text += lines(name, source, network, asked.images, steps)
        made = made_by([provenance()])
        RESULT.write_text(f"{text}\nOf {asked.images} images each. {made}")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
