"""Arrows between the package's rooms go one way, as ARCHITECTURE.md draws them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import antcli

PACKAGE = Path(antcli.__file__).parent
FILES = {"artifacts", "errors", "randomness", "runs", "weights"}
KNOWS = {
    "errors": set(),
    "randomness": set(),
    "artifacts": {"errors"},
    "processes": set(),
    "images": {"artifacts", "errors"},
    "diffusion": {"errors", "randomness"},
    "drawn_faces": set(),
    "settings": {"errors"},
    "config": {"errors", "methods", "settings"},
    "methods": {"config", "diffusion", "errors", "randomness", "settings"},
    "sources": {"artifacts", "config", "diffusion", "errors", "weights"},
    "evaluation": FILES
    | {"config", "devices", "diffusion", "images", "methods", "processes", "sources"},
    "training": FILES
    | {"config", "devices", "diffusion", "evaluation", "images", "methods", "processes", "sources"},
    "distilling": FILES
    | {"config", "diffusion", "evaluation", "images", "methods", "processes", "settings"}
    | {"sources", "training"},
}
"""What a room may import; of the two that know each other, `config` asks `methods.table` alone."""
KNOWN_BY = {"cli": {"__main__"}, "drawn_faces": set()}
"""Who may import the rooms that the engine does without."""


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def arrows() -> Iterator[tuple[str, str]]:
    """From each room to every other that it imports, wherever in a file it does so."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith("antcli.") and room(path) != name.split(".")[1]:
                    yield room(path), name.split(".")[1]


@pytest.mark.parametrize(("start", "known"), KNOWS.items())
def test_a_room_knows_nobody_above(start: str, known: set[str]) -> None:
    found = {to for own, to in arrows() if own == start}
    assert (PACKAGE / start).is_dir() or (PACKAGE / f"{start}.py").is_file()
    assert found <= known


@pytest.mark.parametrize(("above", "by"), KNOWN_BY.items())
def test_the_engine_does_without_the_screen_and_the_drawings(above: str, by: set[str]) -> None:
    assert {start for start, to in arrows() if to == above} == by
