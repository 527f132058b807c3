"""The page on which a person sees whether samples are copies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image

from antcli.images.folder import ImageSource
from antcli.images.grid import grid, save_png

CELL = 96
PADDING = 2
COLUMNS = 10
"""Five pairs in a row."""
TEXT = "ant.pairs"
"""Where a page keeps the list of its pairs, so that it can be read alone."""


def pairs_page(
    images: ImageSource, target: ImageSource, pairs: Sequence[Mapping[str, Any]]
) -> Image.Image:
    """Samples, each with the target image nearest to it on its right, the nearest pair first."""
    cells = []
    for pair in pairs:
        cells += [_cell(images[pair["sample"]]), _cell(target[pair["target"]])]
    return grid(torch.stack(cells), columns=COLUMNS, scale=1, padding=PADDING)


def write_pairs(
    path: Path, images: ImageSource, target: ImageSource, pairs: Sequence[Mapping[str, Any]]
) -> None:
    """Write the page as a PNG. Raises `AntError` if it cannot be written."""
    save_png(path, pairs_page(images, target, pairs), {TEXT: json.dumps(pairs)})


def read_pairs(path: Path) -> list[tuple[Image.Image, dict[str, Any]]]:
    """The pairs of a page that `write_pairs` wrote: the picture of each, and what it is of.

    Empty where there is no such page.
    """
    try:
        with Image.open(path) as page:
            page.load()
            pairs = json.loads(getattr(page, "text", {})[TEXT])
            return [(page.crop(_place(number)), pair) for number, pair in enumerate(pairs)]
    except (OSError, KeyError, ValueError):
        return []


def _place(number: int) -> tuple[int, int, int, int]:
    """Where a pair is on the page: left, top, right, bottom."""
    row, column = divmod(2 * number, COLUMNS)
    left, top = (PADDING + place * (CELL + PADDING) for place in (column, row))
    return left, top, left + 2 * CELL + PADDING, top + CELL


def _cell(image: Image.Image) -> torch.Tensor:
    """uint8 [3, 96, 96]; small images are enlarged with hard edges, as on every page."""
    hard = image.width <= CELL
    method = Image.Resampling.NEAREST if hard else Image.Resampling.LANCZOS
    pixels = numpy.array(image.resize((CELL, CELL), method))
    return torch.from_numpy(pixels).permute(2, 0, 1)
