"""A package folder as its docstrings describe it: rings, rooms, doors, third parties, public names.

Everything is read from the tree itself: the order of the rings from the package's docstring, the order of the rooms and
the third parties of a ring from the ring's docstring, the public names from the table ``_HOME``. The rules are checks
of it in ``house_tree``, ``house_imports`` and ``house_third_parties``: each returns the offences that it found, one
sentence each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.support.imports import PACKAGE, Import, constant, docstring, imports


@dataclass(frozen=True)
class Place:
    """Where a module lies: ring 0 are the modules beside the rings, the last ring is ``__main__``."""

    ring: int
    line: int = 0  # of the ring's list of rooms; rooms on one line lie side by side
    room: str = ""  # "networks.layers"


@dataclass
class House:
    """A package folder, read once.

    Args:
        folder: the package, usually ``src/torch_growl``.
        extras: the optional packages of pyproject's extras for users, as they are imported.
        command: the packages that only the command needs.
    """

    folder: Path
    extras: frozenset[str] = frozenset()
    command: frozenset[str] = frozenset()
    files: dict[str, Path] = field(init=False)  # "networks.layers.kinds": its file; doors and rings under their folder

    def __post_init__(self) -> None:
        self.files = {}
        for path in sorted(self.folder.rglob("*.py")):
            parts = path.relative_to(self.folder).with_suffix("").parts
            self.files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path

    @cached_property
    def rings(self) -> list[str]:
        return [ring for line in _listed(docstring(self.files[""])) for ring in line]

    @cached_property
    def rooms(self) -> dict[str, list[list[str]]]:
        """Ring → lines of its list → rooms side by side on that line."""
        return {ring: _listed(docstring(self.files[ring])) for ring in self.rings if ring in self.files}

    @cached_property
    def without_rooms(self) -> set[str]:
        """Rings of modules that users import by path, with the package that each is for."""
        return {ring for ring, lines in self.rooms.items() if not lines}

    @cached_property
    def imports(self) -> list[Import]:
        return [each for module, path in self.files.items() for each in imports(path, module, set(self.files))]

    @cached_property
    def public(self) -> dict[str, list[str]]:
        """Door → names that the package hands on from it."""
        home: dict[str, list[str]] = constant(self.files[""], "_HOME")
        return home

    @cached_property
    def doors(self) -> list[str]:
        return [f"{ring}.{room}" for ring in self.rings for line in self.rooms[ring] for room in line]

    def names(self, door: str) -> list[str]:
        """The ``__all__`` of a door."""
        named: list[str] = constant(self.files[door], "__all__") if door in self.files else []
        return named

    def third_parties(self, ring: str, title: str = "Third parties") -> list[str]:
        """Packages that a ring's docstring lists: "Third parties: numpy, torch."; title may be "Optional packages"."""
        said = re.search(rf"{title}[^:.]*: ([^.]*)\.", docstring(self.files[ring]))
        return re.findall(r"\w+", said[1]) if said else []

    def place(self, module: str) -> Place:
        ring, *rest = module.split(".")
        if ring == "__main__":
            return Place(len(self.rings) + 1)
        if ring not in self.rings:
            return Place(0)
        for line, rooms in enumerate(self.rooms[ring]):
            if rest and rest[0] in rooms:
                return Place(self.rings.index(ring) + 1, line, f"{ring}.{rest[0]}")
        return Place(self.rings.index(ring) + 1)

    def inner(self) -> Iterator[tuple[Import, Place, str, Place]]:
        """Imports of the package's own modules: the import, its place, the imported module, its place."""
        for each in self.imports:
            if each.by and each.top == PACKAGE:
                target = each.module.removeprefix(PACKAGE).lstrip(".")
                yield each, self.place(each.by), target, self.place(target)


def _listed(text: str) -> list[list[str]]:
    """The names in double backquotes before the colon of each bullet: "* ``owl`` | ``similarity``: …"."""
    bullets = re.findall(r"^\* (``\w+``(?: \| ``\w+``)*):", text, re.MULTILINE)
    return [re.findall(r"\w+", bullet) for bullet in bullets]
