"""Making a file of original code, or a folder with pickled weights, a diffusers folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from antcli.artifacts import file_hash, replacing, save_tensors
from antcli.config import merge
from antcli.errors import AntError
from antcli.sources.catalog import Format, entry_called
from antcli.sources.storage import check_space, one_process_at_a_time, sources_folder
from antcli.sources.transfer import CHUNK, silent

MEMBER = "model.ckpt"
"""Of the zips that latent-diffusion publishes."""
ZIP_HINT = "remove it and get it again, or unpack it yourself and give the file in it"


@dataclass(frozen=True)
class Converting:
    """A file of original code is being made a diffusers folder."""

    name: str


@dataclass(frozen=True)
class Assumed:
    """What no weight of a converted file tells, as it was stated or is of a published network."""

    options: Mapping[str, Any]


def convert_file(
    checkpoint: Path,
    format: Format | None,
    *,
    like: str | None = None,
    options: Mapping[str, Any] | None = None,
    out: Path | None = None,
    on_progress: Callable[[Converting | Assumed], None] = silent,
) -> Path:
    """Make a file of original code, or a folder with pickled weights, a diffusers folder.

    `like` names the entry whose architecture it has, and then its format too; `options` add to
    it, in the names of the original code. Without `out` the folder lies in the cache under a name
    made of the content, and is made once. Raises `AntError` where the path is not there, `out`
    is, or the file is not of that format and architecture.
    """
    entry = entry_called(like) if like else None
    format = format or (entry.code if entry is not None else "diffusers")
    if entry is not None and format != entry.code:
        raise AntError(f"{like} is of format {entry.code}, not {format}", "leave `format` out")
    there = checkpoint.is_dir() if format == "diffusers" else checkpoint.is_file()
    if not there:
        what = "folder" if format == "diffusers" else "file"
        raise AntError(f"there is no {what} {checkpoint}", "check the path and the `format`")
    architecture = merge(entry.architecture if entry is not None else {}, options or {})
    if out is not None and out.exists():
        raise AntError(f"{out} exists already", "give another `out`, or remove it")
    folder = out or sources_folder() / _content_name(checkpoint, format, architecture)
    with one_process_at_a_time(folder):
        if not folder.is_dir():
            on_progress(Converting(str(checkpoint)))
            member = entry.member if entry is not None else ""
            on_progress(Assumed(write_converted(folder, checkpoint, format, architecture, member)))
    return folder


def write_converted(
    folder: Path, checkpoint: Path, format: Format, architecture: Mapping[str, Any], member: str
) -> Mapping[str, Any]:
    """Write `folder`, whole or not at all; of a zip, the file in it that is called `member`.

    Returns the options that no weight tells, as they were stated or taken. Raises `AntError`.
    """
    if format == "diffusers":
        _without_pickles(checkpoint, folder)
        return {}
    from antcli.sources.convert import convert

    if checkpoint.suffix != ".zip":
        return convert(checkpoint, format, folder, architecture)
    unpacked = folder.with_name(f".{folder.name}.ckpt")
    try:
        unpack(checkpoint, member or MEMBER, unpacked)
        return convert(unpacked, format, folder, architecture)
    finally:
        unpacked.unlink(missing_ok=True)


def unpack(archive: Path, member: str, file: Path) -> None:
    """Write one member of a zip as `file`, whole or not at all, and nothing else of it.

    The member's own path is not used: it may lie in any folder of the archive, but only once.
    Raises `AntError` where there is no such member, the archive is damaged or the disk too small.
    """
    with replacing(file) as part, part.open("wb") as out:
        for chunk in _unpacked(archive, member, file.parent):
            out.write(chunk)


def _unpacked(archive: Path, member: str, folder: Path) -> Iterator[bytes]:
    """The bytes of a member, so that a damaged archive is told from trouble of the disk."""
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [i for i in opened.infolist() if PurePosixPath(i.filename).name == member]
            if len(found) != 1:
                raise AntError(f"{archive} has {len(found)} files {member}, not one", ZIP_HINT)
            check_space(folder, found[0].file_size)  # more than it states is never read
            with opened.open(found[0]) as packed:
                while chunk := packed.read(CHUNK):
                    yield chunk
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError) as error:
        raise AntError(f"{archive} is no whole zip file ({error})", ZIP_HINT) from error


def _without_pickles(folder: Path, out: Path) -> None:
    """Write a diffusers folder once more, every `.bin` in it as safetensors."""
    from antcli.weights import read_checkpoint

    configs = list(folder.glob("**/config.json"))
    if not configs:
        raise AntError(f"{folder} is no diffusers folder", "it needs a config.json")
    with replacing(out) as temporary:
        shutil.copytree(folder, temporary, ignore=shutil.ignore_patterns("*.bin", ".*"))
        for pickled in (bin for config in configs for bin in config.parent.glob("*.bin")):
            safe = (temporary / pickled.relative_to(folder)).with_suffix(".safetensors")
            if not safe.exists():
                save_tensors(safe, read_checkpoint(pickled), {})


def _content_name(path: Path, format: Format, architecture: Mapping[str, Any]) -> str:
    """A name that differs wherever the result would."""
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    content = [file_hash(file) for file in files]
    told = json.dumps([format, content, architecture], sort_keys=True).encode()
    return f"{path.stem}-{hashlib.sha256(told).hexdigest()[:12]}"
