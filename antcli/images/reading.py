"""Reading one image file rightly: upright, in RGB, as a person sees it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from antcli.errors import AntError

SMALLEST_SIDE = 8
"""In pixels: an image below this holds nothing to learn from and is most likely a mistake."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]
"""Pillow's other readers stay closed, among them those that start another program."""

if ".avif" in Image.registered_extensions():
    SUFFIXES.add(".avif")
    FORMATS.append("AVIF")

T = TypeVar("T")


class UnusableError(Exception):
    """Why one file cannot be used, as the end of a sentence that begins with its name."""


def read_image(path: Path) -> Image.Image:
    """One image as a person sees it: upright RGB, transparency on white, not cropped.

    Of an animation, the first frame. Raises `AntError` if the file is not a whole image.
    """
    try:
        return as_seen(path)
    except UnusableError as error:
        raise AntError(f"{path} {error}", "replace it, then run the command again") from error


def centre_square(image: Image.Image) -> Image.Image:
    """The largest square in the middle of an image."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def as_seen(path: Path) -> Image.Image:
    """`read_image`, but raising `UnusableError` for a caller that has a whole folder to judge."""
    return _opened(path, _upright_rgb)


def check_header(path: Path) -> Path:
    """The path itself, if the file begins like an image that can be used."""
    return _opened(path, lambda _image: path)


def _opened(path: Path, use: Callable[[ImageFile.ImageFile], T]) -> T:
    """Open an image and use it; whatever goes wrong becomes an `UnusableError`."""
    with warnings.catch_warnings():
        # What Pillow warns of (odd metadata, many pixels) is either harmless or raises later.
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=FORMATS) as image:
                _check_kind(image)
                return use(image)
        except UnusableError:
            raise
        except Exception as error:  # damaged files make Pillow raise errors of every class
            raise UnusableError(_reason(path, error)) from error


def _check_kind(image: Image.Image) -> None:
    if min(image.size) < SMALLEST_SIDE:
        least = f"at least {SMALLEST_SIDE}x{SMALLEST_SIDE} are needed"
        raise UnusableError(f"is {image.width}x{image.height} pixels, {least}")
    if image.mode == "F":
        raise UnusableError("has floating-point pixels, which have no fixed black and white")


def _reason(path: Path, error: Exception) -> str:
    if path.is_symlink() and not path.exists():
        return "is a link to a file that is not there"
    if isinstance(error, UnidentifiedImageError):
        return "is not an image" if path.stat().st_size else "is empty"
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return "has too many pixels to be opened safely"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return "is cut short"
    return f"is damaged or cut short ({error})"


def _upright_rgb(image: ImageFile.ImageFile) -> Image.Image:
    _mend_transparent_colour(image)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        upright = _eight_bits(upright)
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    layer = upright.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _mend_transparent_colour(image: ImageFile.ImageFile) -> None:
    """Scale the transparent colour of a PNG as Pillow scales its pixels, to 8 bits.

    Pillow (13.0) leaves it as the file has it, in samples of 2, 4 or 16 bits.
    """
    colour = image.info.get("transparency")
    if image.format != "PNG" or colour is None or not image.tile:
        return
    samples = image.tile[0].args
    highest = {"L;2": 3, "L;4": 15}.get(str(samples), 0)
    if highest and colour <= highest:
        image.info["transparency"] = colour * 255 // highest
    elif samples == "RGB;16B" and max(colour) > 255:
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as L or LA; Pillow's own conversion clips all above 255 to white."""
    values = np.asarray(image).astype(np.int64)
    grey = Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:
        opaque = values != image.info["transparency"]
        grey.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return grey


def to_pixels(image: Image.Image, size: int, resample: Image.Resampling) -> Tensor:
    """The centre square as uint8 [3, size, size]; Pillow's resize is antialiased."""
    square = centre_square(image).resize((size, size), resample)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)
