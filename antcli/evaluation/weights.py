"""Files of pretrained networks: where they come from, and getting them."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch

from antcli.errors import AntError

_SILENCE_S = 15  # of a network, in seconds, before a download is given up


def hub_checkpoints() -> Path:
    """Where torch.hub keeps the weight files it downloads; TORCH_HOME moves it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def download(url: str, file: Path, what: str, hint: str, *, progress: bool) -> None:
    """Get `file`; where its name ends with the start of a SHA-256, as torch's do, that is checked.

    `what` says in the error what the file is, `hint` what else a user can do than to put it there.
    """
    digest = re.search(r"-([0-9a-f]{8,})$", file.stem)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with patience():
            torch.hub.download_url_to_file(url, str(file), digest and digest[1], progress)
    except (OSError, HTTPException, RuntimeError) as error:
        raise AntError(
            f"cannot get {file.name}, {what}: {getattr(error, 'reason', error)}",
            f"download {url} where that works and put it into {file.parent}, or {hint}",
        ) from error


@contextmanager
def patience(seconds: float = _SILENCE_S) -> Iterator[None]:
    """Give up on a connection that says nothing for so long: torch.hub would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
