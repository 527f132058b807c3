"""The files the program writes: safetensors with metadata, JSON, and whole at every moment.

A file appears under its name only when it is complete: it is written beside its place and
then renamed, so that a full disk or a cut session leaves no half of one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from antcli.errors import AntError


def file_hash(path: Path, kind: str = "sha256") -> str:
    """Of a file's bytes, in hexadecimal; `kind` is a name that hashlib knows."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a disk that has no room."""
NOT_HERE = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What it says of a place that is not the user's to write to."""
TAKEN = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY)
"""What it says of a file where a folder should be, or the other way round."""
RUN_FACTS = "run.json"
"""The file by which the folder of a run is known."""


def cannot_write(path: Path | str, error: OSError) -> AntError:
    """That the disk is full or refuses, and what to do about it."""
    elsewhere = "choose another place (HF_HOME for downloads), then run it again"
    hint = f"free some disk space, or {elsewhere}"
    if error.errno in NOT_HERE:
        hint = f"nothing may be written there: {elsewhere}"
    elif error.errno in TAKEN:
        hint = f"something else is there: {elsewhere}"
    return AntError(f"cannot write {path}: {error.strerror or error}", hint)


def with_name(path: Path) -> Path:
    """`path`, spelled by its own name: `.` and `..` have none. Raises `AntError` for the root."""
    named = path if path.name not in ("", "..") else path.resolve()
    if not named.name:
        raise AntError(f"{path} is no place to write to", "choose a folder in it", exit_code=2)
    return named


def check_writable(path: Path) -> None:
    """Raise `AntError` where no file can be at `path`: better said now than after an hour."""
    if path.is_dir():
        raise AntError(
            f"{path} is a folder", "name a file as `out`, perhaps one in it", exit_code=2
        )
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise AntError(f"{nearest} is no folder", "choose another `out`", exit_code=2)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise cannot_write(path, OSError(errno.EACCES, os.strerror(errno.EACCES)))


@contextmanager
def replacing(path: Path, before: Path | None = None) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it if the block ends well, else removed.

    Of a file, or of a folder that is not there yet. What was at `path` goes to `before`, if given.
    """
    path = with_name(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _let_others_read(temporary)
        if before is not None and path.exists():
            path.replace(before)
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def replacing_parts(folder: Path) -> Iterator[Path]:
    """A temporary folder; if the block ends well, what it holds takes its place in `folder`.

    Nothing appears in `folder` before all of it is written, and what else is there stays.
    """
    folder = with_name(folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _let_others_read(temporary)
        folder.mkdir(exist_ok=True)
        for part in temporary.iterdir():
            if part.is_dir():
                shutil.rmtree(folder / part.name, ignore_errors=True)
            part.replace(folder / part.name)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _let_others_read(written: Path) -> None:
    """Give files the mode that the user's files have: safetensors makes its own private."""
    mask = os.umask(0)
    os.umask(mask)
    for file in written.rglob("*") if written.is_dir() else [written]:
        if file.is_file():
            with suppress(OSError):  # a file system without modes
                file.chmod(0o666 & ~mask)


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left beside its place."""
    for part in folder.glob(".*.part"):
        shutil.rmtree(part, ignore_errors=True)
        part.unlink(missing_ok=True)


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    before: Path | None = None,
) -> None:
    """Write a safetensors file; values of `metadata` that are not strings become JSON.

    What was at `path` goes to `before`, if given.
    """
    flat = flat_metadata(metadata)
    whole = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with replacing(path, before) as temporary:
        try:
            save_file(whole, temporary, metadata={"format": "pt", **flat})
        except SafetensorError as error:
            raise OSError(str(error)) from error
        with temporary.open("rb+") as file:  # else a power cut may leave the name without its bytes
            os.fsync(file.fileno())


def flat_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """As a safetensors file keeps it."""
    return {key: v if isinstance(v, str) else to_json(v) for key, v in metadata.items()}


def load_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without reading its tensors."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON. Raises `ValueError` as `to_json` does."""
    with replacing(path) as temporary:
        temporary.write_text(to_json(value, indent=2) + "\n", encoding="utf-8")


def to_json(value: object, indent: int | None = None) -> str:
    """JSON that every program reads.

    Raises `ValueError` for infinity and NaN, which JSON has not: what has no value is None.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"give None for what has no finite value: {error} in {value}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise AntError(f"there is no file {path}", "check the path")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise AntError(
            f"{path} is not a whole safetensors file ({error})",
            "it was cut short or is of another kind: write or download it again",
        ) from error
