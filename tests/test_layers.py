"""An import may only point down the layers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

#: From the bottom up; rooms on one line do not know each other.
LAYERS = [
    {"_core", "version"},
    {"errors"},
    {"vectors"},
    {"specs", "keys", "statistics"},
    {"messages"},
    {"wire", "bank"},
    {"service"},
    {"client"},
    {"graphs"},
    {"testing", "makers", "mtl"},
    {"torch"},
    {"cli"},
    {"", "__main__"},  # the package itself, which only names what users need
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
#: The package's own names may be used by what users run, demos and the suites that they subclass.
USES_THE_FACADE = {"cli", "testing"}
FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE / "carls").with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imported(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "carls":
            names = [f"carls.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            first, *rest = name.split(".")
            if first == "carls":
                rooms.add(rest[0] if rest else "")
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    mine = room(path)
    above = {
        other
        for other in imported(path) - {mine}
        if LEVEL[other] >= LEVEL[mine] and not (other == "" and mine in USES_THE_FACADE)
    }
    assert not above, f"{path} of {mine!r} imports {sorted(above)}, which are not below it"
