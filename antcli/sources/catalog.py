"""The sources known by name, as facts: nothing here looks at the disk or the network."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from antcli.errors import AntError

HERE = Path(__file__).parent
SHARED = ("resolution", "kind", "format", "written_in", "parameters", "schedule", "architecture")
"""What an entry has of the one that it is `like`. Terms are stated by each."""
Format = Literal["diffusers", "adm", "pesser", "ldm"]


@dataclass(frozen=True)
class Entry:
    """One name of `catalog.toml`, whose head tells what each field means."""

    name: str
    resolution: int
    kind: Literal["pixels", "latents", "classifier"]
    format: Format
    licence: str
    about: str
    forbids: str = ""
    size: str = ""
    bytes: int | None = None
    sha256: str = ""
    md5: str = ""
    parameters: int | None = None
    images: int | None = None
    steps: int | None = None
    builtin: str = ""
    hub: str = ""
    revision: str = "main"
    file: str = ""
    address: str = ""
    member: str = ""
    scaling_factor: float | None = None
    written_in: Format | None = None
    schedule: Mapping[str, Any] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> Format:
        """The original code in whose option names `architecture` is written."""
        return self.written_in or self.format

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


@cache
def catalog() -> dict[str, Entry]:
    """All named sources and classifiers."""
    told = tomllib.loads((HERE / "catalog.toml").read_text(encoding="utf-8"))
    for values in told.values():
        other = told.get(values.pop("like", ""), {})
        values |= {key: other[key] for key in SHARED if key in other and key not in values}
    return {name: Entry(name=name, **values) for name, values in told.items()}


def entry_called(name: str) -> Entry:
    """The entry of a name. Raises `AntError` with the nearest names where there is none."""
    if name not in catalog():
        raise no_such_source(name)
    return catalog()[name]


def no_such_source(source: str) -> AntError:
    """That nothing is known under this name, and which names are near it."""
    return AntError(
        f"there is no source {source!r}",
        f"{did_you_mean(source, catalog())}`ant fetch-source` lists the known names; "
        "the path of a diffusers folder or a hub id works too",
    )


def did_you_mean(typed: str, names: Iterable[str]) -> str:
    """A question that names the nearest of `names`; empty where none is near."""
    near = difflib.get_close_matches(typed, list(names), n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}? " if near else ""
