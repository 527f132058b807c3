"""Where sources lie on this machine, and that one process at a time works on each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process makes `path`: those of one `accelerate launch` all want it."""
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


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A temporary folder to make, which becomes `out` if the block ends well, else is removed.

    Raises `AntError` where the disk is full or refuses.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.rename(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cannot_write(path: Path, error: OSError) -> AntError:
    """That the disk is full or refuses, and what to do about it."""
    return AntError(
        f"cannot write {path}: {error.strerror or error}",
        "free some disk space, or choose another place (HF_HOME for downloads), then run it again",
    )
