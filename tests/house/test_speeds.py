"""Two speeds: `make check` runs the tests without the marker ``slow``, and those still cover every room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.house import House

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"


def marks_of(folder: Path) -> dict[str, bool]:
    """The marks in a folder: test → whether it is slow."""
    found = {}
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        whole = any(ast.unparse(node) == "pytestmark = pytest.mark.slow" for node in tree.body)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = [ast.unparse(mark) for mark in node.decorator_list]
                found[f"{path.name}::{node.name}"] = whole or "pytest.mark.slow" in marks
    return found


ROOMS = [door.replace(".", "/") for door in House(ROOT / "src" / "torch_growl").doors]


def test_rooms_are_found() -> None:
    assert len(ROOMS) > 15


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_its_tests_and_some_are_fast(room: str) -> None:
    marked = marks_of(TESTS / room)
    assert len(marked) >= 3
    assert sum(marked.values()) <= 0.75 * len(marked), "more than three quarters of the tests are slow"


def test_test_folders_are_rooms() -> None:
    rings = {room.split("/")[0] for room in ROOMS}
    folders = {f"{ring}/{path.name}" for ring in rings for path in (TESTS / ring).iterdir() if any(path.glob("*.py"))}
    assert folders == set(ROOMS)


def test_check_leaves_the_slow_tests_out() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    fast = makefile.split("\nfast:")[1].split("\n\n")[0]
    assert '-m "not slow"' in fast
    whole = makefile.split("\ntests:")[1].split("\n\n")[0]
    assert "slow" not in whole
