"""Rules of the tree: which folders and modules there are, their sizes and names."""

from __future__ import annotations

from pathlib import Path

from tests.support.house import House
from tests.support.imports import PACKAGE

LEAST, MOST, LINES = 3, 8, 350  # modules of a room (besides its door), lines of a file


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
    for module, path in house.files.items():
        depth = len(module.split("."))
        if module and depth == 1 and module not in house.rings:
            if module != "__main__" and len(used.get(module, ())) < 2:
                found.append(f"{module} lies beside the rings, and fewer than two rooms import it")
        elif module.split(".")[0] in house.without_rooms:
            if depth > 2:
                found.append(f"{module} lies in a room of a ring without rooms")
        elif module and module not in house.rings and len(path.relative_to(house.folder).parts) != 3:
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
