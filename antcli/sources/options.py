"""Options of original code as a user types them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from antcli.errors import AntError


def parse_options(typed: Sequence[str]) -> dict[str, Any]:
    """Options typed as "name=value", those of a part as "part.name=value".

    Values are as in TOML or as on the original commands' lines. Raises `AntError`.
    """
    options: dict[str, Any] = {}
    for text in typed:
        name, equals, value = (part.strip() for part in text.partition("="))
        *parts, last = name.split(".")
        if not equals or not value or not all((*parts, last)):
            raise AntError(f"{text!r} states no option", "e.g. num_heads=4", exit_code=2)
        inner = options
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = _parsed(value)
    return options


def _parsed(value: str) -> Any:
    if value in ("True", "False"):  # as guided-diffusion's flags are typed
        return value == "True"
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value
