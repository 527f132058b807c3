"""The engine's own words: its errors are read in notebooks, too, where there are no options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import antcli
from antcli.cli.evaluate.show import SETTINGS
from antcli.evaluation.preparing import EvaluationSettings

ROOT = Path(antcli.__file__).parent
COMMAND = re.compile("`ant [^`]*`")


def told(path: Path) -> Iterator[str]:
    """The texts of the errors that a module raises."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "AntError":
            yield from texts_in(node)


def texts_in(node: ast.AST) -> Iterator[str]:
    """The strings in an expression, with a dot in the place of what is filled in."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(p.value) if isinstance(p, ast.Constant) else "." for p in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for part in ast.iter_child_nodes(node):
            yield from texts_in(part)


def test_errors_name_settings_not_options() -> None:
    engine = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] != "cli"]
    texts = [(path.name, text) for path in engine for text in told(path)]
    assert len(texts) > 200
    for name, text in texts:
        # A command to type next is one, options and all.
        assert not re.search(r"(^|[\s(])--[a-z]", COMMAND.sub("", text)), (name, text)


def test_remarks_name_settings_that_there_are() -> None:
    assert {field.name for field in fields(EvaluationSettings)} >= set(SETTINGS)
