"""Pages of images to look at, and PNG files that carry what made them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from antcli.artifacts import replacing

SMALLEST_CELL = 96
"""In pixels: images below this are enlarged on a page, or nobody could judge them."""

LARGEST_CELL = 256
"""In pixels: no image is enlarged beyond this to fill a page."""

PAGE_WIDTH = 960
"""In pixels: a page of small images is enlarged until it is as wide as this."""

GAP = 14
"""In pixels: between the bands of rows of a comparison, and beside its captions."""

PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
"""The last chunk of any PNG: no data, its name, and its checksum."""

WIDEST_PAGE = 2.5
"""Columns for each row, at most, where rows of another length would leave cells empty."""


def to_uint8(x: Tensor) -> Tensor:
    """Pixels in [-1, 1] as uint8 in 0..255: clamped, then rounded to the nearest."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """Pixels, uint8 in 0..255, as float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def grid(
    images: Tensor, columns: int | None = None, scale: int | None = None, padding: int = 2
) -> Image.Image:
    """Lay images out in rows on a white page, in reading order.

    `images` is uint8 [N, 3, H, W]. Each is enlarged by the whole number `scale` with hard pixel
    edges, by default until the page is about a thousand pixels wide; large images stay as they
    are. `padding` is the white line around the cells, in pixels of the page. Raises `ValueError`
    for any other tensor, an empty one included.
    """
    count, height, width = _checked(images)
    columns = min(columns or _columns(count), count)
    scale = scale or _scale(columns, height, width)
    step_x, step_y = width * scale + padding, height * scale + padding
    rows = math.ceil(count / columns)
    page = Image.new("RGB", (columns * step_x + padding, rows * step_y + padding), "white")
    for i, pixels in enumerate(images.permute(0, 2, 3, 1).cpu().numpy()):
        cell = Image.fromarray(pixels).resize(
            (width * scale, height * scale), Image.Resampling.NEAREST
        )
        page.paste(cell, (i % columns * step_x + padding, i // columns * step_y + padding))
    return page


def comparison_page(
    source: Tensor,
    adapted: Tensor | Mapping[str, Tensor],
    columns: int = 8,
    *,
    above: str = "source",
) -> Image.Image:
    """Images of a source and of what was adapted from it, those below each other of the same noise.

    All are uint8 [N, 3, H, W], the same noise at the same place. A row of the source's stands
    above the row of the adapted model's, or above those of several by their names, with a caption
    at the left of each, `above` at the first; sizes are those of `grid`. Raises `ValueError` for
    any other tensors, and for some of different shapes.
    """
    count, height, width = _checked(source)
    below = {"adapted": adapted} if isinstance(adapted, Tensor) else adapted
    for images in below.values():
        if source.shape != images.shape:
            raise ValueError(f"not pairs: {list(source.shape)} and {list(images.shape)}")
    columns = min(columns, count)
    scale = _scale(columns, height, width)
    rows = [
        (caption, grid(images[start : start + columns], columns, scale))
        for start in range(0, count, columns)
        for caption, images in ((above, source), *below.items())
    ]
    font = ImageFont.load_default(size=max(16, height * scale // 8))
    left = round(max(map(font.getlength, ("adapted", above, *below)))) + 2 * GAP
    row_height, band = rows[0][1].height, 1 + len(below)
    page_height = len(rows) * row_height + (len(rows) // band - 1) * GAP
    page = Image.new("RGB", (left + rows[0][1].width, page_height), "white")
    pen = ImageDraw.Draw(page)
    for i, (caption, row) in enumerate(rows):
        top = i * row_height + i // band * GAP
        page.paste(row, (left, top))
        pen.text((left - GAP, top + row_height / 2), caption, "black", font, anchor="rm")
    return page


def save_png(path: Path, image: Image.Image, text: Mapping[str, str]) -> None:
    """Write a PNG with `text` in its text chunks. Raises `AntError` if it cannot be written."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in text.items():
        chunks.add_text(key, value)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=chunks)


def read_text(path: Path) -> dict[str, str]:
    """What `save_png` wrote with an image; of another image nothing."""
    try:
        with Image.open(path) as image:
            found = getattr(image, "text", {})
    except UnidentifiedImageError:
        return {}
    return {str(key): str(value) for key, value in found.items()}


def is_whole_png(path: Path) -> bool:
    """Whether the end of a PNG is there, which is missing where the power went meanwhile."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - len(PNG_END), 0))
        return file.read() == PNG_END


def _checked(images: Tensor) -> tuple[int, int, int]:
    """How many, how high and how wide."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"not uint8 [N, 3, H, W]: {images.dtype} {list(images.shape)}")
    count, _, height, width = images.shape
    return count, height, width


def _scale(columns: int, height: int, width: int) -> int:
    """The whole number that images are enlarged by."""
    legible = math.ceil(SMALLEST_CELL / min(height, width))
    wide = min(math.ceil(PAGE_WIDTH / (columns * width)), LARGEST_CELL // max(height, width))
    return max(legible, wide)


def _columns(count: int) -> int:
    """The fewest that fill every row of a page not too wide, else as many columns as rows."""
    square = math.ceil(math.sqrt(count))
    wide = range(square, int(math.sqrt(WIDEST_PAGE * count)) + 1)
    return next((columns for columns in wide if count % columns == 0), square)
