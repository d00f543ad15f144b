"""The rules of the house as checks of a package folder: rings, rooms, doors, sizes, third parties.

Everything is read from the tree itself: the order of the rings from the package's docstring, the order of the rooms and
the third parties of a ring from the ring's docstring, the public names from the table ``_HOME``. Each check returns the
offences that it found, one sentence each; ``CHECKS`` names them all.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.support.imports import PACKAGE, Import, constant, docstring, imports, more_than_a_door

LEAST, MOST, LINES = 3, 8, 350  # modules of a room (besides its door), lines of a file


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
        extras: packages that pyproject lists as optional, as they are imported.
    """

    folder: Path
    extras: frozenset[str] = frozenset()
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


def optional_packages(pyproject: Path) -> frozenset[str]:
    """Names of all packages in pyproject's extras, as they are imported."""
    extras: dict[str, list[str]] = tomllib.loads(pyproject.read_text("utf-8"))["project"]["optional-dependencies"]
    names = {re.split(r"[\[<>=~! ]", wanted)[0] for listed in extras.values() for wanted in listed}
    return frozenset(name.replace("-", "_").lower() for name in names) - {PACKAGE}


def _listed(text: str) -> list[list[str]]:
    """The names in double backquotes before the colon of each bullet: "* ``owl`` | ``similarity``: …"."""
    bullets = re.findall(r"^\* (``\w+``(?: \| ``\w+``)*):", text, re.MULTILINE)
    return [re.findall(r"\w+", bullet) for bullet in bullets]


# ── the tree ────────────────────────────────────────────────────────────────────────────────────────────────────────


def lists_name_the_folders(house: House) -> list[str]:
    """The docstrings list every ring and every room, and nothing else."""
    found = []
    folders = _folders(house.folder)
    if sorted(house.rings) != folders:
        found.append(f"torch_growl lists the rings {sorted(house.rings)}, its folders are {folders}")
    for ring, lines in house.rooms.items():
        listed, folders = sorted(room for line in lines for room in line), _folders(house.folder / ring)
        if listed != folders:
            found.append(f"{ring} lists the rooms {listed}, its folders are {folders}")
    return found


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.py")))


def every_module_lies_in_a_room(house: House) -> list[str]:
    """A module lies in a room, or, if several rooms or the package itself import it, beside the rings."""
    found = []
    used: dict[str, set[str]] = {}
    for each in house.imports:
        if each.top == PACKAGE:
            user = house.place(each.by).room or each.by or PACKAGE
            used.setdefault(each.module.removeprefix(f"{PACKAGE}."), set()).add(user)
    for module in house.files:
        depth = len(module.split("."))
        if module and depth == 1 and module not in house.rings:
            if module != "__main__" and len(used.get(module, ())) < 2:
                found.append(f"{module} lies beside the rings, and fewer than two rooms import it")
        elif module and depth != 3 and module not in (*house.rings, *house.doors):
            found.append(f"{module} lies in no room")
    return found


def rooms_are_of_three_to_eight(house: House) -> list[str]:
    found = []
    for door in (f"{ring}.{room}" for ring in house.rings for room in _folders(house.folder / ring)):
        modules = [module for module in house.files if module.startswith(f"{door}.")]
        if not LEAST <= len(modules) <= MOST:
            found.append(f"{door} has {len(modules)} modules, not {LEAST} to {MOST}")
    return found


def no_module_is_long(house: House) -> list[str]:
    return too_long(house.folder)


def too_long(folder: Path, most: int = LINES) -> list[str]:
    """The Python files of a folder that have more than ``most`` lines."""
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in sorted(folder.rglob("*.py"))}
    return [f"{path.relative_to(folder)} has {count} lines" for path, count in lengths.items() if count > most]


def no_module_shares_a_function_s_name(house: House) -> list[str]:
    """A door that imports the function would hide the module, or the module the function."""
    public = {name for names in house.public.values() for name in names}
    public |= {name for door in house.doors if door in house.files for name in _handed_on(house, door)}
    modules = {module.rsplit(".", 1)[-1]: module for module in house.files if module}
    return [f"{modules[name]} has the name of a public function" for name in sorted(public & set(modules))]


def _handed_on(house: House, door: str) -> set[str]:
    """Names that a door imports from the modules of its room."""
    return {each.name for each in house.imports if each.by == door and each.name}


# ── imports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def no_ring_imports_an_outer_one(house: House) -> list[str]:
    return [f"{each} is outward" for each, here, _, there in house.inner() if there.ring > here.ring]


def no_room_imports_a_later_one(house: House) -> list[str]:
    found = []
    for each, here, _, there in house.inner():
        if here.ring == there.ring and here.room and there.room and here.room != there.room:
            if there.line > here.line:
                found.append(f"{each} is of a later room")
            elif there.line == here.line:
                found.append(f"{each} is of the room beside")
    return found


def others_come_through_the_door(house: House) -> list[str]:
    """Other rooms import single names from a door, or a module that it names; a room does not use its own door."""
    found = []
    for each, here, target, there in house.inner():
        if not target or target in house.rings:
            dunder = each.name and each.name.startswith("__")
            if not (target == "" and dunder):
                found.append(f"{each}: inside the package, names come from their rooms")
        elif there.room and here.room == there.room:
            if target == there.room and each.by != target:
                found.append(f"{each} is its own door")
        elif there.room:
            if each.name == "*" or (target == there.room and each.name is None):
                found.append(f"{each}: name what is imported")
            elif target != there.room and target.removeprefix(f"{there.room}.") not in _all(house, there.room):
                found.append(f"{each} passes the door by")
    return found


def doors_name_what_is_used(house: House) -> list[str]:
    """A door's ``__all__`` is exactly what other rooms, the modules beside the rings and the public table import."""
    used: dict[str, set[str]] = {door: set(house.public.get(door, ())) for door in house.doors}
    for each, here, target, there in house.inner():
        if there.room in used and here.room != there.room:
            name = each.name if target == there.room else target.removeprefix(f"{there.room}.")
            used[there.room] |= {name} if name else set()
    found = []
    for door, names in used.items():
        named = set(_all(house, door))
        found += [f"{door} names {name}, which no other room imports" for name in sorted(named - names)]
        found += [f"{door} does not name {name}, which other rooms import" for name in sorted(names - named)]
    return found


def doors_are_a_paragraph_and_names(house: House) -> list[str]:
    """A door holds its docstring (one or two short paragraphs), imports from its own room and a sorted ``__all__``."""
    found = []
    for door in house.doors:
        if door not in house.files:
            found.append(f"{door} has no door")
            continue
        path = house.files[door]
        text = docstring(path)
        if not text.strip() or len(text.splitlines()) > 8:
            found.append(f"{door}: a door's docstring is a paragraph")
        if extra := more_than_a_door(path):
            found.append(f"{door} holds more than imports and __all__: {', '.join(extra)}")
        found += [
            f"{each}: a door hands on what lies in its room"
            for each in house.imports
            if each.by == door and not each.module.startswith(f"{PACKAGE}.{door}.")
        ]
    for ring in house.rings:
        if more_than_a_door(house.files[ring]) or any(each.by == ring for each in house.imports):
            found.append(f"{ring}: a ring's __init__ holds its docstring alone")
    return found


def _all(house: House, door: str) -> list[str]:
    names: list[str] = constant(house.files[door], "__all__") if door in house.files else []
    return names


# ── third parties ───────────────────────────────────────────────────────────────────────────────────────────────────


def third_parties(house: House, ring: str) -> list[str]:
    """Packages that a ring says it imports: "Third parties: numpy, torch."."""
    said = re.search(r"Third parties: ([^.]*)\.", docstring(house.files[ring]))
    return re.findall(r"\w+", said[1]) if said else []


def third_parties_are_those_listed(house: House) -> list[str]:
    """Every ring imports the packages that its docstring lists; extras need no listing.

    Modules beside the rings may import what every ring lists.
    """
    found = []
    common = set.intersection(*(set(third_parties(house, ring)) for ring in house.rings))
    met: dict[str, set[str]] = {ring: set() for ring in house.rings}
    for each in _foreign(house):
        ring = house.place(each.by).ring
        inside = 1 <= ring <= len(house.rings)
        listed = third_parties(house, house.rings[ring - 1]) if inside else common
        if each.top not in (*listed, *house.extras):
            found.append(f"{each} is no third party of its ring")
        elif inside and each.top in listed:
            met[house.rings[ring - 1]].add(each.top)
    for ring, seen in met.items():
        found += [
            f"{ring} lists {name} and does not import it" for name in third_parties(house, ring) if name not in seen
        ]
    return found


def extras_are_imported_in_functions(house: House) -> list[str]:
    return [f"{each} is optional" for each in _foreign(house) if each.top in house.extras and each.at_once]


def mathematics_knows_no_modules(house: House) -> list[str]:
    """The first ring works on tensors: it neither imports ``torch.nn`` nor names ``nn.Module``."""
    inner = [module for module in house.files if house.place(module).ring == 1]
    found = [f"{each} in ring 1" for each in house.imports if each.by in inner and each.full == "torch.nn"]
    texts = {module: house.files[module].read_text("utf-8") for module in inner}
    return [*found, *(f"{name} uses torch.nn" for name, text in texts.items() if re.search(r"\bnn\.Module\b", text))]


def _foreign(house: House) -> Iterator[Import]:
    for each in house.imports:
        if each.top != PACKAGE and each.top not in sys.stdlib_module_names:
            yield each


CHECKS: dict[str, Callable[[House], list[str]]] = {
    check.__name__.replace("_", " "): check
    for check in (
        lists_name_the_folders,
        every_module_lies_in_a_room,
        rooms_are_of_three_to_eight,
        no_module_is_long,
        no_module_shares_a_function_s_name,
        no_ring_imports_an_outer_one,
        no_room_imports_a_later_one,
        others_come_through_the_door,
        doors_name_what_is_used,
        doors_are_a_paragraph_and_names,
        third_parties_are_those_listed,
        extras_are_imported_in_functions,
        mathematics_knows_no_modules,
    )
}
