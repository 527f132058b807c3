"""Getting one file whole: going on where it was cut, checked, and under its name only then."""

from __future__ import annotations

import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from antcli.artifacts import file_hash
from antcli.errors import AntError
from antcli.sources.storage import cannot_write

CHUNK = 2**20
SILENCE_S = 15.0
"""Of a server, in seconds, before a connection counts as cut."""
TRIES = 3
"""In a row that bring not one byte before a download is given up."""
PAUSE_S = 1.0
"""Seconds between them."""


@dataclass(frozen=True)
class Downloaded:
    """So many bytes of something are here; `total` is 0 where the server does not tell."""

    name: str
    done: int
    total: int


Progress = Callable[[Downloaded], None]


def silent(_record: object) -> None:
    """For a caller that shows no progress."""


@dataclass(frozen=True)
class Address:
    """Where a file is, and what is known of it."""

    url: str
    size: int | None = None
    sha256: str = ""
    md5: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """For this server alone: never sent on to where it redirects."""

    @property
    def host(self) -> str:
        """Of the server."""
        return urlsplit(self.url).netloc


class CutError(Exception):
    """The connection failed or ended early: trying again may go on from there."""


def transfer(address: Address, file: Path, name: str, on_progress: Progress = silent) -> None:
    """Get `file`, which exists only when it is whole and has passed every check there is.

    Meanwhile its bytes gather in `file.part`, which a later call goes on with. Raises `AntError`
    where the server has no such file, cannot be reached, sends another one, or the disk is full.
    """
    part = _Part(file, checkable=bool(address.sha256 or address.md5))
    fruitless = 0
    while True:
        before = part.size
        try:
            _receive(address, part, name, on_progress)
            break
        except CutError as cut:
            fruitless = 0 if part.size > before else fruitless + 1
            if fruitless == TRIES:
                raise _given_up(address, part, cut) from cut
            time.sleep(PAUSE_S)
    _check(address, part, name)
    part.become(file)


class _Part:
    """The bytes of a file so far, and the server's mark of the version they are of."""

    def __init__(self, file: Path, checkable: bool) -> None:
        self.path = file.with_name(f"{file.name}.part")
        self._mark = file.with_name(f"{file.name}.part.version")
        if not checkable and not self.version:
            self.remove()  # nothing would tell that the rest is of another version

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        return self._mark.read_text(encoding="utf-8") if self._mark.exists() else ""

    def begin(self, version: str) -> None:
        self.remove()
        if version:
            self._mark.write_text(version, encoding="utf-8")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)

    def become(self, file: Path) -> None:
        self.path.replace(file)
        self._mark.unlink(missing_ok=True)


def _receive(address: Address, part: _Part, name: str, on_progress: Progress) -> None:
    """Append what is missing. Raises `CutError` where not all of it came."""
    if part.size and part.size == address.size:
        return
    with _answer(address, part) as response:
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        resumed = response.status == 206
        if resumed and version != part.version:
            part.remove()
            raise CutError("the file there has changed meanwhile")
        total = _total(response, part.size if resumed else 0)
        _check_answer(address, response, total, name)
        try:
            if not resumed:
                part.begin(version)
            _check_space(part, total)
            with part.path.open("ab") as out:
                for chunk in _chunks(response):
                    out.write(chunk)
                    on_progress(Downloaded(name, out.tell(), total or 0))
        except OSError as error:
            raise cannot_write(part.path, error) from error
    if total is not None and part.size < total:
        raise CutError("the connection ended early")


def _answer(address: Address, part: _Part) -> HTTPResponse:
    """The server's answer to asking for all that is missing."""
    request = urllib.request.Request(address.url, headers={"Accept-Encoding": "identity"})
    for header, value in address.headers.items():
        request.add_unredirected_header(header, value)
    if part.size:
        request.add_header("Range", f"bytes={part.size}-")
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=SILENCE_S)
    except HTTPError as error:
        raise _refused(address, part, error) from error
    except (OSError, HTTPException) as error:
        raise CutError(_reason(error)) from error
    return response


def _refused(address: Address, part: _Part, error: HTTPError) -> Exception:
    if error.code == 416:  # there is nothing after what is here: it is of another version
        part.remove()
        return CutError("the file there has changed meanwhile")
    expired = part.size > 0 and error.code in (401, 403)  # an address made for some time only
    if expired or error.code >= 500 or error.code in (408, 429):
        return CutError(f"the server answers {error.code}, {error.reason}")
    if error.code in (404, 410):
        return AntError(
            f"{address.url} is not there any more ({error.code})",
            "it may have moved: get the file from its authors, then convert it with "
            "`ant fetch-source FILE --like NAME`",
        )
    return AntError(
        f"{address.url} is refused ({error.code}, {error.reason})",
        "get the file where it is allowed, then convert it with `ant fetch-source FILE "
        "--like NAME`",
    )


def _total(response: HTTPResponse, before: int) -> int | None:
    """Bytes of the whole file, as the server tells."""
    length = response.headers.get("Content-Length")
    return None if length is None else before + int(length)


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """What comes, so that trouble of the network is told from trouble of the disk."""
    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise CutError(_reason(error)) from error


def _check_answer(address: Address, response: HTTPResponse, total: int | None, name: str) -> None:
    """Before a byte is kept: is this the file, and could its end be told from a cut?"""
    if response.headers.get_content_type() == "text/html":
        raise _another_file(name, address, "a web page")
    if address.size is not None and total not in (None, address.size):
        raise _another_file(name, address, f"{total} bytes, not {address.size}")
    if total is None and not (response.chunked or address.sha256 or address.md5):
        raise _another_file(name, address, "of no stated length, so that it may be cut short")


def _check_space(part: _Part, total: int | None) -> None:
    check_space(part.path.parent, 0 if total is None else total - part.size)


def check_space(folder: Path, wanted: int) -> None:
    """Raise `AntError` before so many bytes are begun that `folder` has no room for."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise AntError(
            f"the disk of {folder} has {megabytes(free)} MB free and {megabytes(wanted)} MB are "
            "to come",
            "free some disk space, or name a folder on another disk with HF_HOME, then run it "
            "again",
        )


def _check(address: Address, part: _Part, name: str) -> None:
    for kind, expected in (("sha256", address.sha256), ("md5", address.md5)):
        if not expected:
            continue
        found = file_hash(part.path, kind)
        if found != expected:
            part.remove()
            raise _another_file(name, address, f"{kind} {found}, not {expected}")


def _another_file(name: str, address: Address, difference: str) -> AntError:
    return AntError(
        f"what comes for {name} is not the file that is known ({difference}); nothing was kept",
        f"try once more; if it stays so, {address.url} was changed, on the way or at its place",
    )


def _given_up(address: Address, part: _Part, cut: CutError) -> AntError:
    if part.size:
        return AntError(
            f"the connection to {address.host} was cut after {megabytes(part.size)} MB: {cut}",
            "run the same command again: it goes on from there",
        )
    return AntError(
        f"cannot reach {address.host}: {cut}",
        f"check the network and its proxy; or get {address.url} where that works and convert it "
        "with `ant fetch-source FILE --like NAME`",
    )


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(error).__name__


def megabytes(count: int) -> int:
    """Rounded up, so that something is never nothing."""
    return -(-count // 10**6)
