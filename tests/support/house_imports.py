"""Rules of the imports between the package's own modules: rings, rooms, doors."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from tests.support.house import House
from tests.support.imports import PACKAGE, bound_by_imports, docstring, more_than_a_door, unreadable

COMPUTED = {  # modules that import a module whose name is computed, and why
    "": "__getattr__ imports the room of a public name when the name is first used",
    "application.recipes.entry_points": "imports the users' own code that a recipe names",
}


def every_import_can_be_read(house: House) -> list[str]:
    """Modules are imported by their names written out, so that the other rules see every import."""
    found, computing = [], set()
    for module, path in house.files.items():
        for line, said, computed in unreadable(path.read_text("utf-8")):
            if computed:
                computing.add(module)
            if not (computed and module in COMPUTED):
                found.append(f"{module or PACKAGE}:{line} {said}")
    found += [f"{each}: a star hides the names" for each in house.imports if each.name == "*"]
    return [*found, *(f"{module} no longer computes what it imports" for module in COMPUTED.keys() - computing)]


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
            elif target != there.room and target.removeprefix(f"{there.room}.") not in house.names(there.room):
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
        named = set(house.names(door))
        found += [f"{door} names {name}, which no other room imports" for name in sorted(named - names)]
        found += [f"{door} does not name {name}, which other rooms import" for name in sorted(names - named)]
    return found


def doors_import_what_they_name(house: House) -> list[str]:
    """A door imports the names of its ``__all__`` and no others; modules of its room need no import."""
    found = []
    for door in house.doors:
        if door in house.files:
            named, bound = set(house.names(door)), bound_by_imports(house.files[door])
            found += [f"{door} imports {name} and does not name it" for name in sorted(bound - named)]
            found += [
                f"{door} names {name}, which it does not import"
                for name in sorted(named - bound)
                if f"{door}.{name}" not in house.files
            ]
    return found


def no_modules_import_each_other(house: House) -> list[str]:
    """The imports that run when a module is imported make no circle; doors aside, for they import their room."""
    needs: dict[str, set[str]] = {}
    for each, _, target, _ in house.inner():
        if each.at_once and target in house.files and not {each.by, target} & {*house.doors, ""}:
            needs.setdefault(each.by, set()).add(target)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' ← '.join(error.args[1])}"]
    return []


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
