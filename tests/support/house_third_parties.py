"""Rules of the imports of other packages."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.house import House
from tests.support.imports import PACKAGE, Import, attributes

OPTIONAL = "Optional packages"


COMMAND = "cli"  # the extra that the command needs
COMMAND_RING = "application"
IMPORTED_AS = {"scikit_learn": "sklearn", "pyyaml": "yaml"}


def extras_of_users(pyproject: Path) -> frozenset[str]:
    """Packages of pyproject's extras for users, as they are imported.

    These are the extras that the extra ``test`` takes in, ``torch-growl[onnx,…]``, without the packages of the
    command; those for developers are no user's.
    """
    extras = _extras(pyproject)
    taken = [re.findall(r"\w+", wanted)[2:] for wanted in extras["test"] if wanted.startswith("torch-growl[")]
    return frozenset(
        package
        for names in taken
        for name in names
        if name != COMMAND
        for package in _imported(extras[name])
        if package not in packages_of_the_command(pyproject)
    )


def packages_of_the_command(pyproject: Path) -> frozenset[str]:
    """Packages of the extra ``cli``, as they are imported: required by the command, unknown to the library."""
    return frozenset(_imported(_extras(pyproject)[COMMAND]))


def _extras(pyproject: Path) -> dict[str, list[str]]:
    extras: dict[str, list[str]] = tomllib.loads(pyproject.read_text("utf-8"))["project"]["optional-dependencies"]
    return extras


def _imported(requirements: list[str]) -> Iterator[str]:
    for wanted in requirements:
        package = re.split(r"[\[<>=~! ]", wanted)[0].replace("-", "_").lower()
        yield IMPORTED_AS.get(package, package)


def third_parties_are_those_listed(house: House) -> list[str]:
    """A ring imports exactly the packages that its docstring lists; the optional ones are extras for users.

    Modules beside the rings may import what every ring lists.
    """
    found = []
    common = set.intersection(*(set(house.third_parties(ring)) for ring in house.rings))
    listed = {ring: {*house.third_parties(ring), *house.third_parties(ring, OPTIONAL)} for ring in house.rings}
    met: dict[str, set[str]] = {ring: set() for ring in house.rings}
    for each in _foreign(house):
        number = house.place(each.by).ring
        ring = house.rings[number - 1] if 1 <= number <= len(house.rings) else None
        if each.top not in (listed[ring] if ring else common):
            found.append(f"{each} is no third party of its ring")
        elif ring:
            met[ring].add(each.top)
    for ring, seen in met.items():
        found += [f"{ring} lists {name} and does not import it" for name in sorted(listed[ring] - seen)]
        found += [
            f"{ring} lists {name} as {'optional' if optional else 'required'}, pyproject does not"
            for optional in (True, False)
            for name in house.third_parties(ring, OPTIONAL if optional else "Third parties")
            if (name in _optional(house, ring)) != optional
        ]
    return found


def extras_are_imported_in_functions(house: House) -> list[str]:
    return [
        f"{each} is optional"
        for each in _foreign(house)
        if each.at_once
        and each.top in _optional(house, each.by.split(".")[0])
        and each.by.split(".")[0] not in house.without_rooms  # imported by those who have the package
    ]


def _optional(house: House, ring: str) -> frozenset[str]:
    """What may be missing where a module of the ring is imported; the command's packages are there for its own ring."""
    return house.extras if ring == COMMAND_RING else house.extras | house.command


def mathematics_knows_no_modules(house: House) -> list[str]:
    """The first ring works on tensors: it neither imports nor uses ``torch.nn`` or ``torch.optim``."""
    found = []
    for module in (module for module in house.files if house.place(module).ring == 1):
        used = [
            (line, text)
            for line, text in attributes(house.files[module].read_text("utf-8"))
            if text.endswith((".nn", ".optim"))
        ]
        found += [f"{module}:{line} uses {text}" for line, text in used]
        imported = [each for each in house.imports if each.by == module]
        found += [f"{each} in ring 1" for each in imported if f"{each.full}.".startswith(("torch.nn.", "torch.optim."))]
    return found


def _foreign(house: House) -> Iterator[Import]:
    for each in house.imports:
        if each.top != PACKAGE and each.top not in sys.stdlib_module_names:
            yield each
