"""Files of pretrained networks: where they come from, and getting them."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from antcli.errors import AntError
from antcli.sources.transfer import SILENCE_S, Address, Progress, silent, transfer


def hub_checkpoints() -> Path:
    """Where torch.hub keeps the weight files it downloads; TORCH_HOME moves it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def download(url: str, file: Path, what: str, hint: str, on_progress: Progress = silent) -> None:
    """Get `file`; where its name ends with the start of a SHA-256, as torch's do, that is checked.

    `what` says in the error what the file is, `hint` what else a user can do than to put it there.
    """
    digest = re.search(r"-([0-9a-f]{8,})$", file.stem)
    address = Address(url, sha256=digest[1] if digest else "")
    try:
        transfer(address, file, file.name, on_progress)
    except AntError as error:
        raise AntError(
            f"cannot get {file.name}, {what}: {error.message}",
            f"download {url} where that works and put it into {file.parent}, or {hint}",
        ) from error


@contextmanager
def patience(seconds: float = SILENCE_S) -> Iterator[None]:
    """Give up on a connection that says nothing for so long: torch.hub would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
