"""Where sources lie on this machine, whether it may ask the network, and who may write there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from antcli.artifacts import cannot_write
from antcli.errors import AntError


def storage() -> Path:
    """`$HF_HOME/ant` where HF_HOME says where large files go, else `ant` in the user's cache."""
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "ant"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ant"


def sources_folder() -> Path:
    """Holds a diffusers folder for each converted source, under its name."""
    return storage() / "sources"


def downloads_folder() -> Path:
    """Holds files of original code until they are converted, and classifiers."""
    return storage() / "downloads"


@contextmanager
def one_process_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process makes `path`: those of one `accelerate launch` all want it.

    Raises `AntError` where its folder cannot be written.
    """
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire()
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        lock.release()


def check_online(what: str) -> None:
    """Raise `AntError` where the user forbids the network that `what` has to come from."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise AntError(
            f"{what} is not on this machine, and HF_HUB_OFFLINE forbids the network",
            "unset HF_HUB_OFFLINE and run it again; `ant fetch-source` tells what is on disk",
        )


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


def megabytes(count: int) -> int:
    """Rounded up, so that something is never nothing."""
    return -(-count // 10**6)
