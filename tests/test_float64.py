"""float64 is for the CPU alone: Apple's devices have none, and `auto` may choose one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "antcli"
NAMES = {"torch.float64", "torch.double"}
ALLOWED = {
    "diffusion/path.py": "tables and steps are built on the CPU; they move as float32",
    "diffusion/sampling.py": "one level at a time, on the CPU, as two plain numbers",
    "sources/source.py": "betas of a scheduler of diffusers, which keeps them on the CPU",
    "sources/convert/ldm.py": "what a checkpoint's file holds, on the CPU",
    "training/counterparts.py": "one level of noise, on the CPU, as a plain number",
    "training/pretraining.py": "betas of a scheduler of diffusers, which keeps them on the CPU",
}


def risks(tree: ast.AST) -> Iterator[int]:
    """Lines on which a tensor may become float64 without having been put on the CPU."""
    safe: set[ast.AST] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        on_cpu = any(k.arg == "device" and ast.unparse(k.value) == "'cpu'" for k in node.keywords)
        if isinstance(function, ast.Attribute):
            receiver = function.value
            on_cpu |= isinstance(receiver, ast.Call) and ast.unparse(receiver.func).endswith(".cpu")
            if function.attr == "double" and not node.args and not on_cpu:
                yield node.lineno
        if on_cpu:
            safe.update(part for argument in node.args for part in ast.walk(argument))
            safe.update(part for keyword in node.keywords for part in ast.walk(keyword))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in NAMES and node not in safe:
            yield node.lineno


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("x.double().cpu()", 1),
        ("x.cpu().double()", 0),
        ("f(x).double()", 1),
        ("x.to(torch.float64)", 1),
        ("x.cpu().to(torch.float64)", 0),
        ("torch.zeros(3, dtype=torch.float64)", 1),
        ("torch.zeros(3, dtype=torch.float64, device='cpu')", 0),
        ("kind = torch.double", 1),
        ("numpy.zeros(3, dtype=numpy.float64)", 0),
    ],
)
def test_what_is_found(code: str, found: int) -> None:
    assert len(list(risks(ast.parse(code)))) == found


def test_no_device_is_asked_for_float64() -> None:
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for path in sorted(ROOT.rglob("*.py"))
        if path.relative_to(ROOT).as_posix() not in ALLOWED
        for line in risks(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == [], "write x.cpu().double(), or allow the place here and say why"


def test_nothing_is_allowed_in_vain() -> None:
    risky = {place for place in ALLOWED if [*risks(ast.parse((ROOT / place).read_text()))]}
    assert risky == set(ALLOWED)
