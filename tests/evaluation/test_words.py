"""The engine's own words: its errors are read in notebooks, too, where there are no options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from antcli.cli.evaluate.show import SETTINGS
from antcli.evaluation import preparing

ROOT = Path(preparing.__file__).parent


def told(path: Path) -> Iterator[str]:
    """The texts of the errors that a module raises."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "AntError":
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def test_errors_name_settings_not_options() -> None:
    settings = {field.name for field in fields(preparing.EvaluationSettings)}
    texts = [(path.name, text) for path in ROOT.rglob("*.py") for text in told(path)]
    assert len(texts) > 50
    for name, text in texts:
        assert "`ant " in text or not re.search(r"(^|\s)--[a-z]", text), (name, text)
    assert set(SETTINGS.split("|")) <= settings
