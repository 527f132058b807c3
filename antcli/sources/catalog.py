"""The sources known by name, and where a name, a path or a hub id leads."""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from antcli.errors import AntError

HERE = Path(__file__).parent
HUB_FILES = ["*.json", "*.safetensors", "*.bin"]


@dataclass(frozen=True)
class Entry:
    """One named source."""

    name: str
    resolution: int
    kind: str
    licence: str
    about: str
    builtin: str = ""
    hub: str = ""

    def on_disk(self) -> bool:
        """Whether it can be used without a network."""
        return bool(self.builtin) or hub_folder(self.hub, offline=True) is not None

    def as_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "on_disk": self.on_disk()}


@cache
def catalog() -> dict[str, Entry]:
    """All named sources."""
    entries = tomllib.loads((HERE / "catalog.toml").read_text(encoding="utf-8"))
    return {name: Entry(name=name, **values) for name, values in entries.items()}


def locate(source: str) -> Path:
    """The folder of a source: a known name, a diffusers folder, or a hub id (downloaded).

    Raises `AntError` with the nearest names where it is none of these.
    """
    entry = catalog().get(source)
    if entry is not None and entry.builtin:
        return HERE / "builtin" / entry.builtin
    if Path(source).is_dir():
        return Path(source)
    hub_id = entry.hub if entry is not None else source
    if hub_id.count("/") != 1 or hub_id.startswith((".", "/", "~")) or Path(source).exists():
        raise _unknown(source)
    folder = hub_folder(hub_id)
    assert folder is not None
    return folder


def hub_folder(hub_id: str, *, offline: bool = False) -> Path | None:
    """The local snapshot of a hub model; downloads it unless `offline`, then None if absent."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES, local_files_only=offline))
    except Exception as error:
        if offline:
            return None
        raise AntError(
            f"cannot fetch {hub_id} from the model hub ({type(error).__name__})",
            "check the id and the network, or give the path of a diffusers folder; "
            "`ant fetch-source` lists what is known",
        ) from error


def _unknown(source: str) -> AntError:
    near = difflib.get_close_matches(source, catalog(), n=3, cutoff=0.4)
    known = f"did you mean {' or '.join(near)}? " if near else ""
    return AntError(
        f"there is no source {source!r}",
        f"{known}`ant fetch-source` lists the known names; "
        "the path of a diffusers folder or a hub id works too",
    )
