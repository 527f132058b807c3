"""How sharp the samples of the 32-pixel and of the 64-pixel source are, beside true drawings.

    python benchmarks/sharpness.py

Reads the pages of the ablation (40 samples a run) and writes benchmarks/results/sharpness.md. All
is compared at 64 pixels, the smaller ones enlarged as a viewer would (bicubic).
"""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from ablation import HELD_OUT_SAMPLE, named
from attributes import draw
from PIL import Image
from table import LATENT, RESULTS, spread
from torch import Tensor

from antcli.images.grid import SMALLEST_CELL

COLUMNS, PADDING = 10, 2
SIZE = 64
SHARPEST = 0.05
"""The share of the pixels of an image that edges are taken from."""
ROWS = ("held-out", "source", "full", "adaptor", "ant")
HEADING = """# How sharp the samples are

`python benchmarks/sharpness.py`: the slope of the lightness (0 to 1, a pixel of 64 being the
unit) at the steepest 5 % of the pixels, mean of 40 images; median of the seeds (least to
greatest). Images of 32 pixels are enlarged to 64, bicubic. `codec` are drawings as the autoencoder
of `avatars-64` gives them back.

| row | avatars, 32 pixels | avatars-64 |
|---|---|---|
"""


def cells(page: Path, size: int) -> Tensor:
    """The images [N, 3, size, size] in [0, 1] that a page was made of."""
    pixels = torch.from_numpy(numpy.array(Image.open(page).convert("RGB"))).permute(2, 0, 1)
    height, width = pixels.shape[1:]
    scale = -(-SMALLEST_CELL // size)
    step = size * scale + PADDING
    return torch.stack(
        [
            pixels[:, y : y + size * scale : scale, x : x + size * scale : scale] / 255
            for y in range(PADDING, height - step + 1, step)
            for x in range(PADDING, width - step + 1, step)
        ]
    )


def sharpness(images: Tensor) -> float:
    """Of images [N, 3, H, W] in [0, 1], per pixel of 64."""
    if images.shape[-1] != SIZE:
        images = torch.nn.functional.interpolate(
            images, size=(SIZE, SIZE), mode="bicubic", antialias=True
        ).clamp(0, 1)
    light = images.mean(1)
    down, across = light[:, 1:, :-1] - light[:, :-1, :-1], light[:, :-1, 1:] - light[:, :-1, :-1]
    slopes = (down.square() + across.square()).sqrt().flatten(1)
    return float(slopes.topk(round(SHARPEST * slopes.shape[1])).values.mean())


def of_pages(target: str, row: str, size: int) -> str:
    """Over the seeds whose pages there are."""
    pages = sorted((RESULTS / "pages").glob(f"{target}-{row}-[0-9].png"))
    return spread([sharpness(cells(page, size)) for page in pages], ".3f") if pages else "-"


def lines(target: str) -> list[str]:
    """The rows of a target."""
    truth = draw(range(HELD_OUT_SAMPLE, HELD_OUT_SAMPLE + 40), target, SIZE)[0] / 255
    held_out = f"{sharpness(truth):.3f}"
    found = [f"| {target}: codec | - | {of_pages(target, named(LATENT, 'codec'), SIZE)} |\n"]
    for row in ROWS:
        small = of_pages(target, row, 32)
        large = held_out if row == "held-out" else of_pages(target, named(LATENT, row), SIZE)
        found.append(f"| {target}: {row} | {small} | {large} |\n")
    return found


def main() -> None:
    """Write the table."""
    text = HEADING + "".join(line for target in ("sunglasses", "babies") for line in lines(target))
    (RESULTS / "sharpness.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
