"""Images within the page: small, and embedded, so that one file is all there is."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

from PIL import Image

from antcli.images.grid import SMALLEST_CELL
from antcli.images.reading import centre_square, read_image

WIDEST = 160
"""In pixels: what a page of many images shows of each on a good screen."""
LARGEST_PNG = 16_000
"""In bytes: drawings stay below it and as sharp as they are, photographs become JPEG."""
QUALITY = 85


def square(path: Path) -> str:
    """The centre square of an image file as an <img>. Raises `AntError` if it is none."""
    return embedded(centre_square(read_image(path)), path.stem)


def embedded(image: Image.Image, alt: str, widest: int = WIDEST) -> str:
    """An image as an <img> that carries its pixels, `alt` being what it shows."""
    if image.width > widest:
        height = round(image.height * widest / image.width)
        image = image.resize((widest, height), Image.Resampling.LANCZOS)
    kind, content = "png", _encoded(image, "PNG", optimize=True)
    if len(content) > LARGEST_PNG:
        kind, content = "jpeg", _encoded(image, "JPEG", quality=QUALITY)
    # Small images are enlarged with hard edges, as on every page of the program.
    looks = ' class="hard"' if image.width <= SMALLEST_CELL else ""
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img{looks} src="{_uri(f"image/{kind}", content)}" alt="{escape(alt)}" {size}>'


def drawing(svg: str, alt: str) -> str:
    """An SVG as an <img>, where its names and fonts cannot meet those of the page."""
    uri = _uri("image/svg+xml", svg.encode())
    return f'<img class="drawing" src="{uri}" alt="{escape(alt)}">'


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
