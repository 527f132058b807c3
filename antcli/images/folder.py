"""Reading a folder of images rightly, as a person sees them, and saying what is wrong with it.

A folder is read once, in natural order (img2 before img10). Every file that cannot be used is
named in one error, so that a user mends a folder in one go. User files are never changed.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor

from antcli.artifacts import RUN_FACTS
from antcli.errors import AntError
from antcli.images.conditions import Conditions
from antcli.images.reading import (
    SUFFIXES,
    UnusableError,
    as_seen,
    centre_square,
    check_header,
    read_image,
    to_pixels,
)

LISTED = 8
"""Names that a note lists before it only counts the rest."""

TABLE = "conditions.csv"
"""A table of numbers beside the images: `images/target.py` reads it."""

T = TypeVar("T")


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images, read and checked."""

    folder: Path
    images: Tensor
    """uint8 [N, 3, size, size]: upright RGB, centre-cropped."""
    paths: tuple[Path, ...]
    """In natural order, the order of `images`."""
    hashes: tuple[str, ...]
    """SHA-256 of the bytes of each file."""
    passed_over: int
    """Other files in the folder: not images by their suffix, or hidden."""
    notes: tuple[str, ...]
    """What a user should know: images cropped or enlarged, duplicates, files passed over."""
    conditions: Conditions | None = None
    """Of a target whose images have several."""


class ImageSource(Protocol):
    """Square RGB images by number, each opened when it is asked for. A list of images is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Image.Image: ...


@dataclass(frozen=True)
class ImageFiles:
    """Image files as a sequence of upright RGB squares, each opened when it is asked for."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        """How many."""
        return len(self.paths)

    def __getitem__(self, index: int, /) -> Image.Image:
        """The centre square of one image, in its own resolution."""
        return centre_square(read_image(self.paths[index]))


def read_folder(
    folder: Path, size: int, resample: Image.Resampling = Image.Resampling.LANCZOS
) -> ImageFolder:
    """Read all images of a folder, cropped at the centre and resized to `size` x `size` pixels.

    Raises `AntError` if there is no such folder, if it has no images, or if any image cannot be
    used; all of these are then named.
    """
    listed, others = _listing(folder)
    pixels, sizes, contents = [], [], []
    for image in _each(folder, listed, as_seen):
        pixels.append(to_pixels(image, size, resample))
        sizes.append(image.size)
        contents.append(hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest())
    return ImageFolder(
        folder=folder,
        images=torch.stack(pixels),
        paths=tuple(listed),
        hashes=tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in listed),
        passed_over=len(others),
        notes=(
            *_shape_notes(listed, sizes, size),
            *_duplicate_notes(listed, contents),
            *_other_notes(others),
        ),
    )


def check_folder(folder: Path) -> tuple[Path, ...]:
    """The images of a folder in natural order, the header of each looked at but no pixels read.

    Raises `AntError` as `read_folder` does, except for images that are damaged further in.
    """
    listed, _ = _listing(folder)
    return tuple(_each(folder, listed, check_header))


# --- which files ---------------------------------------------------------------------------


def _listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images of a folder and its other files; an `AntError` unless there is an image."""
    try:
        images, others = _split(folder)
    except FileNotFoundError as error:
        raise AntError(f"there is no folder {folder}", _nearest(folder)) from error
    except NotADirectoryError as error:
        raise AntError(
            f"{folder} is a file, not a folder of images",
            f"give the folder that holds the images, perhaps {folder.parent}",
        ) from error
    except OSError as error:
        raise AntError(
            f"cannot read the folder {folder}: {error.strerror or error}",
            "check its permissions, then run the command again",
        ) from error
    if not images:
        passed = f" ({_count(len(others), 'other file')} passed over)" if others else ""
        raise AntError(f"there are no images in {folder}{passed}", _where_images_are(folder))
    return images, others


def _split(folder: Path) -> tuple[list[Path], list[Path]]:
    images: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.iterdir(), key=_natural):
        if not path.is_dir() and path.name != TABLE:
            (images if _is_named_image(path) else others).append(path)
    return images, others


def inner_folders(folder: Path) -> tuple[list[Path], dict[Path, list[Path]]]:
    """The images that lie in a folder, and those in each of its folders, hidden ones apart.

    A folder of runs is none of its folders. Nothing where there is no such folder, which reading
    it says better.
    """
    try:
        loose, _ = _split(folder)
        inner = [path for path in folder.iterdir() if path.is_dir() and not _is_passed(path)]
        return loose, {path: _split(path)[0] for path in sorted(inner, key=_natural)}
    except OSError:
        return [], {}


def _is_passed(folder: Path) -> bool:
    """Whether a folder is hidden, or a run or one of runs: made beside images, not of them."""
    if folder.name.startswith((".", "__")) or (folder / RUN_FACTS).exists():
        return True
    return next(folder.glob(f"*/{RUN_FACTS}"), None) is not None


def _is_named_image(path: Path) -> bool:
    """A broken link counts, so that it is named; a pipe does not: opening it would hang."""
    if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
        return False
    return path.is_file() or not path.exists()


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split("([0-9]+)", path.name.casefold())
    key: list[str | int] = [int(part) if i % 2 else part for i, part in enumerate(parts)]
    return key, path.name


def _nearest(folder: Path) -> str:
    """A hint that names the folders spelled most like the first missing part of a path."""
    near: list[str] = []
    with suppress(OSError):
        while not folder.parent.is_dir():
            folder = folder.parent
        siblings = [path.name for path in folder.parent.iterdir() if path.is_dir()]
        near = difflib.get_close_matches(folder.name, siblings)
    if not near:
        return "check the path"
    return f"check the path; did you mean {' or '.join(str(folder.parent / n) for n in near)}?"


def _where_images_are(folder: Path) -> str:
    for inner in sorted(folder.iterdir(), key=_natural):
        with suppress(OSError):
            images = _split(inner)[0] if inner.is_dir() and not _is_passed(inner) else []
            if images:
                return f"{inner} holds {_count(len(images), 'image')}: give that folder"
    kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
    return f"give a folder with some images in it ({kinds})"


def _each(folder: Path, paths: Sequence[Path], read: Callable[[Path], T]) -> Iterator[T]:
    """Read files one after another; after the first bad one, only look for others to name."""
    bad: list[str] = []
    for path in paths:
        try:
            result = read(path)
        except UnusableError as error:
            bad.append(f"{path.name} {error}")
            continue
        if not bad:
            yield result
    if bad:
        raise AntError(
            f"{len(bad)} of {_count(len(paths), 'image')} in {folder} cannot be used: "
            + "; ".join(bad),
            f"remove or replace {'it' if len(bad) == 1 else 'them'}, then run the command again",
        )


# --- what to tell the user -----------------------------------------------------------------


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _names(paths: Sequence[Path]) -> str:
    shown = [path.name for path in paths[:LISTED]]
    rest = [f"{len(paths) - LISTED} more"] if len(paths) > LISTED else []
    return ", ".join(shown + rest)


def _shape_notes(
    paths: Sequence[Path], sizes: Sequence[tuple[int, int]], size: int
) -> Iterator[str]:
    oblong = [path for path, (w, h) in zip(paths, sizes, strict=True) if w != h]
    if oblong:
        were = (
            "image is not square and was" if len(oblong) == 1 else "images are not square and were"
        )
        yield f"{len(oblong)} {were} cropped at the centre: {_names(oblong)}"
    small = [path for path, both in zip(paths, sizes, strict=True) if min(both) < size]
    if small:
        were = "image is" if len(small) == 1 else "images are"
        yield f"{len(small)} {were} smaller than {size}x{size} pixels, enlarged: {_names(small)}"


def _duplicate_notes(paths: Sequence[Path], contents: Sequence[str]) -> Iterator[str]:
    first: dict[str, Path] = {}
    for path, content in zip(paths, contents, strict=True):
        original = first.setdefault(content, path)
        if original is not path:
            yield f"{path.name} has the same content as {original.name}"


def _other_notes(others: Sequence[Path]) -> Iterator[str]:
    if others:
        yield f"{_count(len(others), 'other file')} passed over: {_names(others)}"
