"""From a name, a path or a hub id to a diffusers folder: found, downloaded or converted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antcli.artifacts import file_hash
from antcli.errors import AntError
from antcli.sources import hub
from antcli.sources.catalog import HERE, Entry, Format, catalog, known, unknown
from antcli.sources.download import fetch_file, file_on_disk, unpack
from antcli.sources.options import merged
from antcli.sources.storage import alone, downloads_folder, sources_folder
from antcli.sources.transfer import Downloaded, silent

MEMBER = "model.ckpt"
"""Of the zips that latent-diffusion publishes."""


@dataclass(frozen=True)
class Converting:
    """A file of original code is being made a diffusers folder."""

    name: str


@dataclass(frozen=True)
class Assumed:
    """What no weight of a converted file tells, as it was stated or is of a published network."""

    options: Mapping[str, Any]


Progress = Callable[[Downloaded | Converting | Assumed], None]


def locate(source: str, on_progress: Progress = silent) -> Path:
    """The folder of a source: a known name, a diffusers folder, or a hub id.

    What is not on disk is downloaded and, where it has another format, converted. Raises
    `AntError` with the nearest names where `source` is none of these.
    """
    entry = catalog().get(source)
    if entry is not None:
        return fetch_source(entry, on_progress)
    if Path(source).is_dir():
        return Path(source)
    if not _may_be_hub_id(source):
        raise unknown(source)
    return hub.fetch_folder(source, on_progress=on_progress)


def is_here(source: str) -> bool:
    """Whether `locate` finds a source at once, without a network."""
    entry = catalog().get(source)
    if entry is not None:
        return folder_on_disk(entry) is not None
    if Path(source).is_dir():
        return True
    return _may_be_hub_id(source) and hub.cached_folder(source) is not None


def on_disk(entry: Entry) -> bool:
    """Whether an entry can be used without a network."""
    return folder_on_disk(entry) is not None or (
        entry.kind == "classifier" and file_on_disk(entry) is not None
    )


def folder_on_disk(entry: Entry) -> Path | None:
    """The diffusers folder of an entry where it is there, whole."""
    if entry.builtin:
        return HERE / "builtin" / entry.builtin
    if entry.format == "diffusers":
        return hub.cached_folder(entry.hub, entry.revision)
    converted = sources_folder() / entry.name
    return converted if converted.is_dir() else None


def fetch_source(entry: Entry, on_progress: Progress = silent) -> Path:
    """The diffusers folder of an entry, downloaded and converted where it is not there yet."""
    if entry.kind == "classifier":
        raise AntError(
            f"{entry.name} is a classifier, not a source",
            f"`ant train-classifier --init {entry.name}` starts from it",
        )
    found = folder_on_disk(entry)
    if found is not None:
        return found
    if entry.format == "diffusers":
        return hub.fetch_folder(entry.hub, entry.revision, on_progress)
    folder = sources_folder() / entry.name
    with alone(folder):
        if not folder.is_dir():  # another process may have made it meanwhile
            checkpoint = fetch_file(entry, on_progress)
            on_progress(Converting(entry.name))
            _convert(checkpoint, entry.format, folder, entry.architecture, entry.member)
            if checkpoint.is_relative_to(downloads_folder()):
                checkpoint.unlink()  # the folder is all that is needed from now on
    return folder


def convert_file(
    checkpoint: Path,
    format: Format | None,
    *,
    like: str | None = None,
    options: Mapping[str, Any] | None = None,
    out: Path | None = None,
    on_progress: Progress = silent,
) -> Path:
    """Make a file of original code, or a folder with pickled weights, a diffusers folder.

    `like` names the entry whose architecture it has, and then its format too; `options` add to
    it, in the names of the original code. Without `out` the folder lies in the cache under a name
    made of the content, and is made once. Raises `AntError` where the path is not there, `out`
    is, or the file is not of that format and architecture.
    """
    entry = known(like) if like else None
    format = format or (entry.code if entry is not None else "diffusers")
    if entry is not None and format != entry.code:
        raise AntError(f"{like} is of format {entry.code}, not {format}", "leave --format out")
    there = checkpoint.is_dir() if format == "diffusers" else checkpoint.is_file()
    if not there:
        what = "folder" if format == "diffusers" else "file"
        raise AntError(f"there is no {what} {checkpoint}", "check the path and --format")
    architecture = merged(entry.architecture if entry is not None else {}, options or {})
    member = entry.member if entry is not None else ""

    def make(folder: Path) -> None:
        on_progress(Converting(str(checkpoint)))
        on_progress(Assumed(_convert(checkpoint, format, folder, architecture, member)))

    if out is not None:
        if out.exists():
            raise AntError(f"{out} exists already", "give another --out, or remove it")
        out.parent.mkdir(parents=True, exist_ok=True)
        make(out)
        return out
    folder = sources_folder() / _content_name(checkpoint, format, architecture)
    with alone(folder):
        if not folder.is_dir():
            make(folder)
    return folder


def _may_be_hub_id(source: str) -> bool:
    path_like = source.startswith((".", "/", "~")) or Path(source).exists()
    return source.count("/") == 1 and not path_like


def _convert(
    checkpoint: Path, format: Format, folder: Path, architecture: Mapping[str, Any], member: str
) -> Mapping[str, Any]:
    """Returns the options that no weight tells, as they were stated or taken."""
    if format == "diffusers":
        from antcli.sources.pickles import without_pickles

        without_pickles(checkpoint, folder)
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


def _content_name(path: Path, format: Format, architecture: Mapping[str, Any]) -> str:
    """A name that differs wherever the result would."""
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    content = [file_hash(file) for file in files]
    told = json.dumps([format, content, architecture], sort_keys=True).encode()
    return f"{path.stem}-{hashlib.sha256(told).hexdigest()[:12]}"
