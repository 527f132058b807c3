"""The one file that an entry of the catalogue names, got whole and checked."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from antcli.errors import AntError
from antcli.sources import hub
from antcli.sources.catalog import Entry
from antcli.sources.storage import alone, cannot_write, downloads_folder
from antcli.sources.transfer import CHUNK, Address, Progress, silent, transfer

ZIP_HINT = "remove it and get it again, or unpack it yourself and give the file in it"


def file_on_disk(entry: Entry) -> Path | None:
    """The file of an entry where it is there, whole."""
    own = _own_file(entry)
    if own.is_file():
        return own
    return hub.cached_file(entry.hub, entry.file, entry.revision) if entry.hub else None


def fetch_file(entry: Entry, on_progress: Progress = silent) -> Path:
    """The one file that an entry names, whole and checked; of a zip, the member it names.

    Raises `AntError` where the network is forbidden or fails, the file is not there or not what
    the catalogue says, or the disk is full.
    """
    found = file_on_disk(entry)
    if found is not None:
        return found
    file = _own_file(entry)
    with alone(file):
        if not file.is_file():  # another process may have got it meanwhile
            received = file.with_name(f"{file.name}.zip") if entry.member else file
            if not received.is_file():
                transfer(_address(entry), received, entry.name, on_progress)
            if entry.member:
                unpack(received, entry.member, file)
                received.unlink()
    return file


def unpack(archive: Path, member: str, file: Path) -> None:
    """Write one member of a zip as `file`, whole or not at all, and nothing else of it.

    The member's own path is not used: it may lie in any folder of the archive, but only once.
    Raises `AntError` where there is no such member or the archive is damaged.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as out:
            for chunk in _unpacked(archive, member):
                out.write(chunk)
        part.replace(file)
    except OSError as error:
        raise cannot_write(file, error) from error
    finally:
        part.unlink(missing_ok=True)


def _unpacked(archive: Path, member: str) -> Iterator[bytes]:
    """The bytes of a member, so that a damaged archive is told from trouble of the disk."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [n for n in opened.namelist() if PurePosixPath(n).name == member]
            if len(names) != 1:
                raise AntError(f"{archive} has {len(names)} files {member}, not one", ZIP_HINT)
            with opened.open(names[0]) as packed:
                while chunk := packed.read(CHUNK):
                    yield chunk
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError) as error:
        raise AntError(f"{archive} is no whole zip file ({error})", ZIP_HINT) from error


def _own_file(entry: Entry) -> Path:
    base = entry.member or entry.file or PurePosixPath(urlsplit(entry.address).path).name
    return downloads_folder() / f"{entry.name}-{PurePosixPath(base).name}"


def _address(entry: Entry) -> Address:
    """Where the file of an entry is, with what the catalogue knows and what the hub says."""
    if not entry.hub:
        hub.check_online(entry.name)
        return Address(entry.address, entry.bytes, entry.sha256, entry.md5)
    there = hub.file_address(entry.hub, entry.file, entry.revision)
    sha256 = entry.sha256 or there.sha256
    return Address(there.url, entry.bytes or there.size, sha256, entry.md5, there.headers)
