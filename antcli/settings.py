"""Settings: frozen dataclasses whose fields say their ranges, and one line for what is wrong."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, TypeVar, dataclass_transform, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from antcli.errors import AntError

T = TypeVar("T")
Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Le(1)]
Chance = Annotated[float, Ge(0), Le(1)]
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
Decay = Annotated[float, Ge(0), Lt(1)]


@dataclass_transform(frozen_default=True)
def settings(kind: type[T]) -> type[T]:
    """A frozen dataclass that `checked` makes from plain values, exactly as they are typed.

    A class method `normalised` may turn what a table says into the names and defaults of today.
    """
    kind.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    return dataclass(frozen=True)(kind)


def settings_of(
    name: str, doc: str, tables: Mapping[str, Any], bases: tuple[type, ...] = ()
) -> type[Any]:
    """Settings that are put together: each part with the default that its type has."""
    parts = [(key, kind, field(default_factory=_default(kind))) for key, kind in tables.items()]
    made = make_dataclass(name, parts, bases=bases, frozen=True)
    made.__doc__ = doc
    made.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    return made


def _default(kind: Any) -> Any:
    return kind if is_dataclass(kind) else lambda: 0.0


def checked(kind: type[T], values: Mapping[str, Any]) -> T:
    """The settings that nested mappings say. Raises `AntError` (wrong usage) where they cannot."""
    # JSON's own types are the ones meant: a whole number serves as a float, and true as no number.
    try:
        return TypeAdapter(kind).validate_json(json.dumps(_normalised(kind, values), default=str))
    except ValidationError as error:
        # Of several, an unknown name before what is missing in its place.
        wrong = sorted(
            error.errors(), key=lambda found: found["type"] in ("missing", "value_error")
        )
        raise _readable_error(kind, wrong[0]) from None


def _normalised(kind: Any, values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    hints = get_type_hints(kind)
    tables = {
        key: _normalised(hints[key], value) if is_dataclass(hints.get(key)) else value
        for key, value in values.items()
    }
    return kind.normalised(tables) if hasattr(kind, "normalised") else tables


def _readable_error(kind: Any, error: Any) -> AntError:
    where = [str(part) for part in error["loc"]]  # nowhere: of all the settings together
    name, what, context = ".".join(where), error["type"], error.get("ctx", {})
    if what == "unexpected_keyword_argument":
        *table, key = where
        known = [part.name for part in fields(_table(kind, table))]
        near = difflib.get_close_matches(key, known, n=1)
        prefix = "".join(f"{part}." for part in table)
        hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(known)}"
        if not table and _tables_with(kind, key):
            hint = f"it belongs below [{'] or ['.join(_tables_with(kind, key))}]"
        return AntError(f"unknown setting {name}", hint, exit_code=2)
    if what == "missing":
        return AntError(f"setting {name} is missing", f"say {name} = ...", exit_code=2)
    if what == "value_error":
        part, _, range_ = str(context["error"]).partition(": ")
        return AntError(
            f"{'.'.join([*where, part])} is out of range", f"it is {range_}", exit_code=2
        )
    ranges = {"greater_than": ("above", "gt"), "greater_than_equal": ("at least", "ge")}
    ranges |= {"less_than": ("below", "lt"), "less_than_equal": ("at most", "le")}
    if what in ranges:
        words, bound = ranges[what]
        return AntError(f"{name} is out of range", f"it is {words} {context[bound]:g}", exit_code=2)
    if what == "literal_error":
        is_ = "one of " + str(context.get("expected")).replace(" or ", ", ").replace("'", "")
    else:
        inside = "".join(f"; [{table}] has a setting {name}" for table in _tables_with(kind, name))
        as_table = f"a table, [{name}]{inside}"
        kinds = {"finite_number": "a finite number", "dataclass_type": as_table}
        plain = "of type " + what.removesuffix("_type").replace("string", "str")
        is_ = kinds.get(what, plain)
    return AntError(f"{name} is {error['input']!r}", f"it is {is_}", exit_code=2)


def _tables_with(kind: Any, key: str) -> list[str]:
    """The tables that have a setting of this name."""
    tables = {name: hint for name, hint in get_type_hints(kind).items() if is_dataclass(hint)}
    return [name for name, hint in tables.items() if key in {part.name for part in fields(hint)}]


def _table(kind: Any, path: list[str]) -> Any:
    for part in path:
        kind = get_type_hints(kind)[part]
    return kind
