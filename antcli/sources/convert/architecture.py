"""The options of a network: what its weights tell, what is stated, and what is taken as usual."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from antcli.errors import AntError


def resolve(
    stated: Mapping[str, Any], from_weights: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """All options: those that the shapes of the weights tell, else stated ones, else the defaults.

    Lists may be written as on the original commands' lines, "1,1,2,2". Raises `AntError` where
    an option is unknown, of the wrong type, or contradicts the weights.
    """
    examples = {**defaults, **from_weights}
    given = {name: option(name, stated, examples) for name in stated}
    for name, value in from_weights.items():
        if given.get(name, value) != value:
            raise AntError(
                f"the weights have {name} {shown(value)}, not {shown(given[name])} as stated",
                f"leave {name} out, or check that it is the file you mean",
            )
    return examples | given


def option(name: str, stated: Mapping[str, Any], examples: Mapping[str, Any]) -> Any:
    """What is stated for an option, in the type of its example; else the example."""
    _check_name(name, examples)
    value = stated.get(name, examples[name])
    try:
        return _cast(value, type(examples[name]))
    except (TypeError, ValueError) as error:
        raise AntError(
            f"{name} cannot be {value!r}", f"give e.g. {shown(examples[name])}"
        ) from error


def check_known(
    known: Mapping[str, Any], needed: Mapping[str, Any], names: Collection[str]
) -> None:
    """Raise `AntError` unless `known` has all that is `needed` and that no weight tells.

    `needed` has an example of each, `names` all that there are. A wrong value loads without an
    error and draws wrong images.
    """
    for name in known:
        _check_name(name, names)
    missing = [name for name in needed if name not in known]
    if missing:
        typed = " ".join(f"`option` {name}={shown(needed[name])}" for name in missing)
        raise AntError(
            "this is none of the published networks that are known here, and weights do not tell "
            f"{', '.join(missing)}",
            f"state what it was trained with, e.g. {typed}; or `like` NAME of a known source",
        )


def _check_name(name: str, names: Collection[str]) -> None:
    if name not in names:
        raise AntError(f"there is no option {name!r}", f"known are {', '.join(sorted(names))}")


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


def shown(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, frozenset):
        return shown(sorted(value, reverse=True)) if value else "none"
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
