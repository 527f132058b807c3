"""The pages: templates filled in, with every picture inside, so that one file is all there is.

All text that comes in is escaped by the template engine.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from antcli.artifacts import replacing
from antcli.images.grid import SMALLEST_CELL
from antcli.images.reading import centre_square, read_image

WIDEST = 160
"""In pixels: what a page of many images shows of each on a good screen."""
WIDEST_PAGE = 1200
"""In pixels: of a page of images that is shown whole."""
LARGEST_PNG = 16_000
"""In bytes: drawings stay below it and as sharp as they are, photographs become JPEG."""
QUALITY = 85


@dataclass(frozen=True)
class Picture:
    """An image that carries its pixels."""

    uri: str
    alt: str
    """What it shows."""
    width: int = 0
    """0: as wide as there is room."""
    height: int = 0
    hard: bool = False
    """Whether its pixels keep their edges when it is enlarged."""


def square(path: Path) -> Picture:
    """The centre square of an image file. Raises `AntError` if it is none."""
    return embedded(centre_square(read_image(path)), path.stem)


def embedded(
    image: Image.Image, alt: str, widest: int = WIDEST, largest_png: int = LARGEST_PNG
) -> Picture:
    """An image, no wider than `widest`; small ones keep hard edges, as on every page."""
    if image.width > widest:
        height = round(image.height * widest / image.width)
        image = image.resize((widest, height), Image.Resampling.LANCZOS)
    kind, content = "png", _encoded(image, "PNG", optimize=True)
    if len(content) > largest_png:
        kind, content = "jpeg", _encoded(image, "JPEG", quality=QUALITY)
    hard = image.width <= SMALLEST_CELL
    return Picture(_uri(f"image/{kind}", content), alt, image.width, image.height, hard)


def whole_page(path: Path, alt: str) -> Picture | None:
    """A page of images that was written before; None where there is no such file."""
    try:
        with Image.open(path) as page:
            image = page.convert("RGB")
    except OSError:
        return None
    found = embedded(image, alt, WIDEST_PAGE, largest_png=32 * LARGEST_PNG)
    return Picture(found.uri, alt, found.width, found.height, hard=True)


def drawing(svg: str, alt: str) -> Picture:
    """An SVG; as an image its names and fonts cannot meet those of the page."""
    return Picture(_uri("image/svg+xml", svg.encode()), alt)


def render(template: str, **content: Any) -> str:
    """A whole document from a template of this folder."""
    return _templates().get_template(template).render(**content)


def write_page(path: Path, text: str) -> None:
    """Write a document. Raises `AntError` if that fails."""
    with replacing(path) as temporary:
        # Bytes of a file's name that are no UTF-8 become question marks.
        temporary.write_text(text, encoding="utf-8", errors="replace")


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
