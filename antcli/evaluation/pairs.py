"""The page on which a person sees whether samples are copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image

from antcli.images.folder import ImageSource
from antcli.images.grid import grid, save_png

CELL = 96
COLUMNS = 10
"""Five pairs in a row."""


def pairs_page(
    images: ImageSource, target: ImageSource, pairs: Iterable[Mapping[str, Any]]
) -> Image.Image:
    """Samples, each with the target image nearest to it on its right, the nearest pair first."""
    cells = []
    for pair in pairs:
        cells += [_cell(images[pair["sample"]]), _cell(target[pair["target"]])]
    return grid(torch.stack(cells), columns=COLUMNS, scale=1)


def write_pairs(
    path: Path, images: ImageSource, target: ImageSource, pairs: Iterable[Mapping[str, Any]]
) -> None:
    """Write the page as a PNG. Raises `AntError` if it cannot be written."""
    save_png(path, pairs_page(images, target, pairs), {})


def _cell(image: Image.Image) -> torch.Tensor:
    """uint8 [3, 96, 96]; small images are enlarged with hard edges, as on every page."""
    hard = image.width <= CELL
    method = Image.Resampling.NEAREST if hard else Image.Resampling.LANCZOS
    pixels = numpy.array(image.resize((CELL, CELL), method))
    return torch.from_numpy(pixels).permute(2, 0, 1)
