"""The options of a network: what its weights tell, what is stated, and what is usual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antcli.errors import AntError


def settle(
    stated: Mapping[str, Any], told: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """All options: those that the weights have `told`, else stated ones, else the defaults.

    Lists may be written as on the original commands' lines, "1,1,2,2". Raises `AntError` where
    an option is unknown, of the wrong type, or contradicts the weights.
    """
    usual = {**defaults, **told}
    given = {name: option(name, stated, usual) for name in stated}
    for name, value in told.items():
        if given.get(name, value) != value:
            raise AntError(
                f"the weights have {name} {_shown(value)}, not {_shown(given[name])} as stated",
                f"leave {name} out, or check that it is the file you mean",
            )
    return usual | given


def option(name: str, stated: Mapping[str, Any], usual: Mapping[str, Any]) -> Any:
    """What is stated for an option, in the type of what is usual; else what is usual."""
    if name not in usual:
        raise AntError(f"there is no option {name!r}", f"known are {', '.join(sorted(usual))}")
    value = stated.get(name, usual[name])
    try:
        return _cast(value, type(usual[name]))
    except (TypeError, ValueError) as error:
        raise AntError(f"{name} cannot be {value!r}", f"give e.g. {_shown(usual[name])}") from error


def _cast(value: Any, kind: type) -> Any:
    if kind in (tuple, frozenset):
        items = value.split(",") if isinstance(value, str) else value
        return kind(int(item) for item in ([items] if isinstance(items, int) else items))
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is int and value < 1:  # sizes and counts, all of them
        raise ValueError
    if type(value) is not kind:
        raise TypeError
    return value


def _shown(value: Any) -> str:
    if isinstance(value, frozenset):
        return _shown(sorted(value, reverse=True)) if value else "none"
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
