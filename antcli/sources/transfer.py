"""The one downloader: a file comes whole, goes on where it was cut, and is checked.

Of the model hub's files the hub's own client takes care: see `hub`.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from antcli.artifacts import cannot_write, file_hash
from antcli.errors import AntError
from antcli.sources.storage import check_online, check_space, megabytes, one_process_at_a_time

CHUNK = 2**20
SILENCE_S = 15.0
"""Of a server, in seconds, before a connection counts as cut."""
TRIES = 3
"""In a row that bring not one byte before a download is given up."""
PAUSE_S = 1.0
"""Seconds between them."""
BY_HAND = "then convert it with `ant fetch-source FILE --like NAME`"


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
    """Of the file; the beginning of it does."""
    md5: str = ""


class CutError(Exception):
    """The connection failed or ended early: trying again may go on from there."""


def transfer(address: Address, file: Path, name: str, on_progress: Progress = silent) -> None:
    """Get `file`, which exists only when it is whole and has passed every check there is.

    Meanwhile its bytes gather in `file.part`, which a later call goes on with; of several
    processes one gets it. Raises `AntError` where the network is forbidden, the server has no
    such file, cannot be reached or sends another one, or the disk is full.
    """
    if not file.is_file():
        check_online(name)
    with one_process_at_a_time(file):
        if not file.is_file():
            _Transfer(address, file, name, on_progress).run()


class _Transfer:
    """One file on its way: the bytes so far, and the server's mark of the version they are of."""

    def __init__(self, address: Address, file: Path, name: str, on_progress: Progress) -> None:
        self.address, self.file, self.name, self.on_progress = address, file, name, on_progress
        self.part = file.with_name(f"{file.name}.part")
        self.mark = file.with_name(f"{file.name}.part.version")

    def run(self) -> None:
        """Receive, check, give the file its name."""
        if not (self.address.sha256 or self.address.md5 or self.version):
            self.remove()  # nothing would tell that the rest is of another version
        fruitless = 0
        while True:
            before = self.size
            try:
                self.receive()
                break
            except CutError as cut:
                fruitless = 0 if self.size > before else fruitless + 1
                if fruitless == TRIES:
                    raise self.given_up(cut) from cut
                time.sleep(PAUSE_S)
        for kind, known in (("sha256", self.address.sha256), ("md5", self.address.md5)):
            if known and not (found := file_hash(self.part, kind)).startswith(known):
                self.remove()
                raise self.another_file(f"{kind} {found}, not {known}")
        self.part.replace(self.file)
        self.mark.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    @property
    def version(self) -> str:
        return self.mark.read_text(encoding="utf-8") if self.mark.exists() else ""

    def remove(self) -> None:
        self.part.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def receive(self) -> None:
        """Append what is missing. Raises `CutError` where not all of it came."""
        if self.size and self.size == self.address.size:
            return
        with self.answer() as response:
            version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            resumed = response.status == 206
            if resumed and version != self.version:
                self.remove()
                raise CutError("the file there has changed meanwhile")
            length = response.headers.get("Content-Length")
            before = self.size if resumed else 0
            total = None if length is None else before + int(length)
            self.check_answer(response, total)
            try:
                if not resumed:
                    self.remove()
                    self.mark.write_text(version, encoding="utf-8")
                check_space(self.part.parent, 0 if total is None else total - before)
                with self.part.open("ab") as out:
                    for chunk in _chunks(response):
                        out.write(chunk)
                        self.on_progress(Downloaded(self.name, out.tell(), total or 0))
            except OSError as error:
                raise cannot_write(self.part, error) from error
        if total is not None and self.size < total:
            raise CutError("the connection ended early")

    def answer(self) -> HTTPResponse:
        """The server's answer to asking for all that is missing."""
        request = urllib.request.Request(self.address.url, headers={"Accept-Encoding": "identity"})
        if self.size:
            request.add_header("Range", f"bytes={self.size}-")
        try:
            response: HTTPResponse = urllib.request.urlopen(request, timeout=SILENCE_S)
        except HTTPError as error:
            raise self.refused(error) from error
        except (OSError, HTTPException) as error:
            raise CutError(_reason(error)) from error
        return response

    def check_answer(self, response: HTTPResponse, total: int | None) -> None:
        """Before a byte is kept: is this the file, and could its end be told from a cut?"""
        if response.headers.get_content_type() == "text/html":
            raise self.another_file("a web page")
        if self.address.size is not None and total not in (None, self.address.size):
            raise self.another_file(f"{total} bytes, not {self.address.size}")
        checked = response.chunked or self.address.sha256 or self.address.md5
        if total is None and not checked:
            raise self.another_file("of no stated length, so that it may be cut short")

    def refused(self, error: HTTPError) -> Exception:
        if error.code == 416:  # there is nothing after what is here: it is of another version
            self.remove()
            return CutError("the file there has changed meanwhile")
        expired = self.size > 0 and error.code in (401, 403)  # an address made for some time only
        if expired or error.code >= 500 or error.code in (408, 429):
            return CutError(f"the server answers {error.code}, {error.reason}")
        gone = error.code in (404, 410)
        return AntError(
            f"{self.address.url} is {'not there any more' if gone else 'refused'} "
            f"({error.code}, {error.reason})",
            f"get the file from its authors or where it is allowed, {BY_HAND}",
        )

    def another_file(self, difference: str) -> AntError:
        return AntError(
            f"what comes for {self.name} is not the file that is known ({difference}); nothing "
            "was kept",
            f"try once more; if it stays so, {self.address.url} was changed, on the way or at its "
            f"place: get the file by hand, {BY_HAND}",
        )

    def given_up(self, cut: CutError) -> AntError:
        host = urlsplit(self.address.url).netloc
        if self.size:
            return AntError(
                f"the connection to {host} was cut after {megabytes(self.size)} MB: {cut}",
                "run the same command again: it goes on from there",
            )
        return AntError(
            f"cannot reach {host}: {cut}",
            f"check the network and its proxy; or get {self.address.url} where that works, "
            f"{BY_HAND}",
        )


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """What comes, so that trouble of the network is told from trouble of the disk."""
    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise CutError(_reason(error)) from error


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(error).__name__
