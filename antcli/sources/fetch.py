"""From a name, a path or a hub id to a diffusers folder: found, downloaded or converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from antcli.errors import AntError
from antcli.sources import hub
from antcli.sources.catalog import HERE, Entry, catalog, no_such_source
from antcli.sources.storage import downloads_folder, one_process_at_a_time, sources_folder
from antcli.sources.to_diffusers import Assumed, Converting, write_converted
from antcli.sources.transfer import Address, Downloaded, silent, transfer

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
        raise no_such_source(source)
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


def file_on_disk(entry: Entry) -> Path | None:
    """The file of an entry where it is there, whole."""
    own = _downloaded_file(entry)
    if own.is_file():
        return own
    return hub.cached_file(entry.hub, entry.file, entry.revision) if entry.hub else None


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
    with one_process_at_a_time(folder):
        if not folder.is_dir():  # another process may have made it meanwhile
            checkpoint = fetch_file(entry, on_progress)
            on_progress(Converting(entry.name))
            write_converted(folder, checkpoint, entry.format, entry.architecture, entry.member)
            if checkpoint.is_relative_to(downloads_folder()):
                checkpoint.unlink()  # the folder is all that is needed from now on
    return folder


def fetch_file(entry: Entry, on_progress: Callable[[Downloaded], None] = silent) -> Path:
    """The one file that an entry names, whole and checked.

    Raises `AntError` where the network is forbidden or fails, the file is not there or not what
    the catalogue says, or the disk is full.
    """
    found = file_on_disk(entry)
    if found is not None:
        return found
    file = _downloaded_file(entry)
    if entry.hub:
        at = (entry.hub, entry.file, file, entry.revision)
        hub.fetch_file(*at, sha256=entry.sha256, on_progress=on_progress)
    else:
        address = Address(entry.address, entry.bytes, entry.sha256, entry.md5)
        transfer(address, file, entry.name, on_progress)
    return file


def _may_be_hub_id(source: str) -> bool:
    path_like = source.startswith((".", "/", "~")) or Path(source).exists()
    return source.count("/") == 1 and not path_like


def _downloaded_file(entry: Entry) -> Path:
    base = entry.file or urlsplit(entry.address).path
    return downloads_folder() / f"{entry.name}-{PurePosixPath(base).name}"
