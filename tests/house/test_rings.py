"""Rings, rooms and doors: the tree keeps the rules of ``tests/support/house_*.py``, and a planted offence is seen."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import house_imports, house_third_parties, house_tree
from tests.support.house import House
from tests.support.house_third_parties import extras_of_users, packages_of_the_command
from tests.support.house_tree import LINES, too_long
from tests.support.imports import PACKAGE

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / PACKAGE
PYPROJECT = ROOT / "pyproject.toml"
EXTRAS, COMMAND = extras_of_users(PYPROJECT), packages_of_the_command(PYPROJECT)
CHECKS: dict[str, Callable[[House], list[str]]] = {
    name.replace("_", " "): check
    for rules in (house_tree, house_imports, house_third_parties)
    for name, check in vars(rules).items()
    if inspect.isfunction(check) and [*inspect.signature(check).parameters] == ["house"] and name[0] != "_"
}


@pytest.fixture(scope="module")
def house() -> House:
    return House(SOURCE, EXTRAS, COMMAND)


@pytest.mark.parametrize("check", CHECKS)
def test_the_tree_keeps_the_rule(house: House, check: str) -> None:
    assert len(house.files) > 80
    assert len(house.imports) > 400
    assert CHECKS[check](house) == []


# ── planted offences ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Plant:
    """An offence: what is appended to a file of a copy of the package, and what a check then says."""

    check: str
    file: str
    text: str
    said: str
    stands: str = ""  # is replaced by the text, where given


MATHEMATICS = "mathematics/owl/sequences.py"
NETWORKS = "networks/layers/kinds.py"
PENALTY = "networks/penalty/penalised_layers.py"
OUTWARD, LATER = "no ring imports an outer one", "no room imports a later one"
DOOR, EXACT = "others come through the door", "doors name what is used"
THIRD, EXTRA = "third parties are those listed", "extras are imported in functions"
READ, CIRCLE = "every import can be read", "no modules import each other"
IMPORT, DOOR_FILE = "doors import what they name", "networks/layers/__init__.py"
TORCH_NN = "mathematics knows no modules"
FUNCTION = "def planted():\n    "

PLANTS = {
    # every form of import, outward
    "import a.b.c as d": Plant(OUTWARD, MATHEMATICS, "import torch_growl.networks.layers.kinds as k", "layers.kinds"),
    "from ring import room": Plant(OUTWARD, MATHEMATICS, "from torch_growl.networks import layers", "networks.layers"),
    "from door import name": Plant(OUTWARD, NETWORKS, "from torch_growl.application.runs import x", "runs.x"),
    "relative": Plant(OUTWARD, MATHEMATICS, "from ...networks.layers import kind_of", "networks.layers.kind_of"),
    "relative, no module": Plant(OUTWARD, MATHEMATICS, "from ... import networks", "imports torch_growl.networks"),
    "in a function": Plant(OUTWARD, MATHEMATICS, f"{FUNCTION}import torch_growl.networks.layers", "networks.layers"),
    "for type checking": Plant(
        OUTWARD, MATHEMATICS, "if TYPE_CHECKING:\n    from torch_growl.networks.layers import LayerKind", "LayerKind"
    ),
    "import_module": Plant(
        OUTWARD, MATHEMATICS, f'{FUNCTION}importlib.import_module("torch_growl.networks.layers")', "networks.layers"
    ),
    "relative import_module": Plant(
        OUTWARD, MATHEMATICS, 'import_module("...networks.layers", __package__)', "networks.layers"
    ),
    "import_module with a keyword": Plant(
        OUTWARD, MATHEMATICS, 'import_module(package=None, name="torch_growl.networks.layers")', "networks.layers"
    ),
    "find_spec": Plant(OUTWARD, MATHEMATICS, 'find_spec("torch_growl.networks.layers")', "networks.layers"),
    "__import__": Plant(OUTWARD, MATHEMATICS, '__import__("torch_growl.networks.layers")', "networks.layers"),
    "from beside the rings": Plant(OUTWARD, "errors.py", "from torch_growl.mathematics.owl import slope", "owl.slope"),
    # what no reading of the file can follow
    "import_module under another name": Plant(
        READ, MATHEMATICS, "from importlib import import_module as load\nload('rich')", "gives import_module another"
    ),
    "import_module in a variable": Plant(
        READ, MATHEMATICS, "load = importlib.import_module", "computes the name that import_module"
    ),
    "import_module of a computed name": Plant(
        READ, NETWORKS, f"{FUNCTION}import_module(f'torch_growl.application.{{room}}')", "computes the name"
    ),
    "__import__ of a computed name": Plant(READ, NETWORKS, f"{FUNCTION}__import__('ri' + 'ch')", "computes the name"),
    "find_spec of a computed name": Plant(READ, NETWORKS, f"{FUNCTION}find_spec('ri' + 'ch')", "computes the name"),
    "a name that is allowed and not computed": Plant(
        READ,
        "application/recipes/entry_points.py",
        'import_module("json")',
        "no longer",
        "importlib.import_module(module_name)",
    ),
    "pkgutil.resolve_name": Plant(READ, MATHEMATICS, "pkgutil.resolve_name('rich:print')", "uses pkgutil"),
    "from pkgutil": Plant(READ, MATHEMATICS, "from pkgutil import resolve_name", "uses pkgutil"),
    "runpy": Plant(READ, MATHEMATICS, "import runpy as r", "uses runpy"),
    "a module made from a file": Plant(
        READ, MATHEMATICS, "importlib.util.spec_from_file_location('a', 'b.py')", "uses spec_from_file_location"
    ),
    "sys.modules": Plant(
        READ, MATHEMATICS, f"{FUNCTION}sys.modules['torch_growl.networks.layers']", "uses sys.modules"
    ),
    "modules of sys": Plant(READ, MATHEMATICS, "from sys import modules as loaded", "uses sys.modules"),
    "sys under another name": Plant(READ, MATHEMATICS, "import sys as s\ns.modules['rich']", "gives sys another"),
    "exec": Plant(READ, MATHEMATICS, "exec('import rich')", "uses exec"),
    "eval": Plant(READ, MATHEMATICS, f"{FUNCTION}eval('__import__(\"rich\")')", "uses eval"),
    "exec of builtins": Plant(READ, MATHEMATICS, "import builtins as b", "uses builtins"),
    "a star in a room": Plant(READ, PENALTY, "from torch_growl.networks.penalty.step_layers import *", "a star hides"),
    # rooms
    "a later room": Plant(LATER, NETWORKS, "from torch_growl.networks.wiring import Wiring", "later room"),
    "the room beside": Plant(
        LATER, MATHEMATICS, "from torch_growl.mathematics.similarity import row_similarity", "room beside"
    ),
    "a room of two": Plant("rooms are of three to eight", "networks/new/__init__.py", '"""A room."""', "0 modules"),
    "a room that is not listed": Plant("lists name the folders", "networks/new/one.py", "", "'new'"),
    "a module beside the rooms": Plant("every module lies in a room", "networks/new.py", "", "networks.new lies"),
    "a module beside the rings": Plant("every module lies in a room", "helpers.py", "", "helpers lies beside"),
    "a folder in a room": Plant("every module lies in a room", "networks/layers/new/one.py", "", "layers.new.one lies"),
    "a folder in a room, with a door": Plant(
        "every module lies in a room", "networks/layers/new/__init__.py", "", "layers.new lies"
    ),
    "a folder in a ring without rooms": Plant(
        "every module lies in a room", "integrations/new/one.py", "", "integrations.new.one lies in a room"
    ),
    "a circle in a room": Plant(
        CIRCLE,
        "networks/layers/weights.py",
        "import torch_growl.networks.layers.choosing",
        "layers.choosing ← networks.",
    ),
    "a circle beside the rings": Plant(CIRCLE, "errors.py", "from torch_growl.arguments import number", "arguments"),
    # doors
    "past the door": Plant(
        DOOR, PENALTY, "from torch_growl.networks.layers.kinds import kind_of", "passes the door by"
    ),
    "past the door, whole": Plant(DOOR, PENALTY, "import torch_growl.networks.layers.kinds", "passes the door by"),
    "a whole door": Plant(DOOR, PENALTY, "from torch_growl.networks import layers", "name what is imported"),
    "a star": Plant(DOOR, PENALTY, "from torch_growl.networks.layers import *", "name what is imported"),
    "a flat public name": Plant(DOOR, PENALTY, "from torch_growl import compact", "names come from their rooms"),
    "the whole package": Plant(DOOR, PENALTY, "import torch_growl as tg", "names come from their rooms"),
    "its own door": Plant(DOOR, NETWORKS, "from torch_growl.networks.layers import LayerKind", "its own door"),
    "a door names too much": Plant(EXACT, DOOR_FILE, ' "planted",]', "layers names planted", "]"),
    "a door names too little": Plant(EXACT, DOOR_FILE, "", "layers does not name kind_of", '"kind_of",'),
    "a door imports what it does not name": Plant(
        IMPORT, DOOR_FILE, "from torch_growl.networks.layers.rows import planted", "imports planted"
    ),
    "a door imports under another name": Plant(
        IMPORT, DOOR_FILE, "kind_of as planted,", "layers imports planted", "kind_of,"
    ),
    "a door names what it does not import": Plant(
        IMPORT, DOOR_FILE, "", "layers names kind_of, which", "    kind_of,\n"
    ),
    "code in a door": Plant("doors are a paragraph and names", DOOR_FILE, "def planted(): ...", "FunctionDef"),
    "names of a ring": Plant(
        "doors are a paragraph and names", "networks/__init__.py", "from torch_growl.networks.layers import x", "ring's"
    ),
    "a function with a module's name": Plant(
        "no module shares a function s name", DOOR_FILE, "from .kinds import kinds", "layers.kinds"
    ),
    # third parties
    "a third party": Plant(THIRD, MATHEMATICS, "from sklearn.cluster import KMeans", "sklearn.cluster.KMeans"),
    "a third party in a function": Plant(THIRD, NETWORKS, f"{FUNCTION}import rich.console", "rich.console"),
    "a third party beside the rings": Plant(THIRD, "errors.py", "import rich", "errors:"),
    "a third party that is not used": Plant(
        THIRD, "networks/__init__.py", "Third parties: yaml, ", "networks lists yaml", "Third parties: "
    ),
    "a tool of developers in a function": Plant(THIRD, NETWORKS, f"{FUNCTION}import pytest", "imports pytest"),
    "a package of the tests in a function": Plant(THIRD, NETWORKS, f"{FUNCTION}import timm", "imports timm"),
    "another ring's extra": Plant(THIRD, NETWORKS, f"{FUNCTION}import tensorboard", "imports tensorboard"),
    "a requirement called optional": Plant(
        THIRD, "networks/__init__.py", "need them: scipy, ", "scipy as optional", "need them: "
    ),
    "an extra called required": Plant(
        THIRD, "networks/__init__.py", "Third parties: onnx, ", "onnx as required", "Third parties: "
    ),
    "the command's package called required": Plant(
        THIRD, "networks/__init__.py", "Third parties: rich, ", "rich as required", "Third parties: "
    ),
    "the command's package at the top of the library": Plant(EXTRA, NETWORKS, "import rich", "imports rich"),
    "an extra at the top": Plant(EXTRA, NETWORKS, "try:\n    import onnx\nexcept ImportError: ...", "imports onnx"),
    "an extra in a class": Plant(EXTRA, NETWORKS, "class Planted:\n    import onnx", "imports onnx"),
    "an extra in a default": Plant(EXTRA, NETWORKS, 'def planted(of=__import__("onnx")): ...', "imports onnx"),
    "an extra in a lambda's default": Plant(
        EXTRA, NETWORKS, 'planted = lambda of=__import__("onnx"): of', "imports onnx"
    ),
    "an extra in a decorator": Plant(
        EXTRA, NETWORKS, '@__import__("onnx").planted\ndef planted(): ...', "imports onnx"
    ),
    "an extra when not type checking": Plant(EXTRA, NETWORKS, "if not TYPE_CHECKING:\n    import onnx", "imports onnx"),
    "an extra in the else of type checking": Plant(
        EXTRA, NETWORKS, "if TYPE_CHECKING:\n    import abc\nelse:\n    import onnx", "imports onnx"
    ),
    "from torch import nn": Plant(TORCH_NN, MATHEMATICS, "from torch import nn", "torch.nn"),
    "from torch.nn": Plant(TORCH_NN, MATHEMATICS, "from torch.nn import Module as M", "torch.nn.Module"),
    "import torch.nn.functional": Plant(
        TORCH_NN, MATHEMATICS, "import torch.nn.functional as F", "torch.nn.functional"
    ),
    "torch.nn as an attribute": Plant(
        TORCH_NN, MATHEMATICS, f"{FUNCTION}torch.nn.functional.relu(torch.ones(1))", "uses torch.nn"
    ),
    "torch.nn of torch under another name": Plant(
        TORCH_NN, MATHEMATICS, "import torch as t\nplanted = t.nn.Module", "uses t.nn"
    ),
    "torch.optim": Plant(TORCH_NN, MATHEMATICS, "from torch.optim import SGD", "torch.optim.SGD"),
    "torch.optim as an attribute": Plant(TORCH_NN, MATHEMATICS, "planted = torch.optim.SGD", "uses torch.optim"),
    # length
    "a long file": Plant("no module is long", MATHEMATICS, "\n" * LINES, "sequences.py has"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("copy"))


@contextmanager
def planted(plant: Plant, copy: Path) -> Iterator[None]:
    """Write an offence into the copy of the package and take it out again."""
    file = copy / plant.file
    new_folder, new_file = not file.parent.exists(), not file.exists()
    file.parent.mkdir(exist_ok=True)
    before = "" if new_file else file.read_text("utf-8")
    assert not plant.stands or plant.stands in before
    after = before.replace(plant.stands, plant.text, 1) if plant.stands else f"{before}\n{plant.text}\n"
    file.write_text(after, encoding="utf-8")
    yield
    file.write_text(before, encoding="utf-8")
    if new_file:
        file.unlink()
    if new_folder:
        file.parent.rmdir()


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_offence_is_seen(name: str, copy: Path) -> None:
    plant = PLANTS[name]
    with planted(plant, copy):
        found = CHECKS[plant.check](House(copy, EXTRAS, COMMAND))
    assert any(plant.said in offence for offence in found), found


def test_every_check_has_a_plant() -> None:
    assert {plant.check for plant in PLANTS.values()} == set(CHECKS)


def copied(folder: Path) -> Path:
    return shutil.copytree(SOURCE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))


# ── what an import loads ────────────────────────────────────────────────────────────────────────────────────────────

LOADS = """
import sys, torch_growl
from importlib import import_module
print(torch_growl.__file__)
alone = sorted({name.split(".")[0] for name in sys.modules})
print("package", *[name for name in alone if name in ("torch", "numpy")])
for ring in sys.argv[1:]:
    for door in ring.split(","):
        import_module(f"torch_growl.{door}")
    print(ring.split(".")[0], *sorted({name.split(".")[0] for name in sys.modules}))
"""


def loaded(package: Path, house: House) -> dict[str, set[str]]:
    """What is in ``sys.modules`` after the package's import and after the doors of each ring: ring → packages."""
    doors = [",".join(d for d in house.doors if d.startswith(f"{ring}.")) or ring for ring in house.rings]
    command = [sys.executable, "-c", LOADS, *doors]
    env = {**os.environ, "PYTHONPATH": str(package.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file, *lines = done.stdout.splitlines()
    assert Path(file).parent == package
    return {ring: set(names) for ring, *names in map(str.split, lines)}


def too_much(found: dict[str, set[str]], house: House) -> list[str]:
    heavy = {"numba", *EXTRAS}
    assert found["package"] == set()
    assert found.keys() == {"package", *house.rings}
    command = "application"
    outer = set(house.third_parties(command))
    wrong = []
    for ring in house.rings:
        inner = house.rings.index(ring) < house.rings.index(command)
        unwanted = heavy | (outer - set(house.third_parties(ring)) if inner else set())
        wrong += [f"the doors of {ring} load {name}" for name in sorted(found[ring] & unwanted)]
    return wrong


@pytest.mark.slow
def test_doors_load_no_kernels_and_nothing_optional(house: House) -> None:
    assert too_much(loaded(SOURCE, house), house) == []


@pytest.mark.slow
def test_a_door_that_loads_kernels_is_seen(house: House, tmp_path: Path) -> None:
    copy = copied(tmp_path)
    with (copy / MATHEMATICS).open("a", encoding="utf-8") as file:
        file.write("\nimport rich, numba\n")
    found = too_much(loaded(copy, house), house)
    assert {"the doors of mathematics load numba", "the doors of networks load rich"} <= set(found)


# ── length ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "examples"])
def test_no_file_is_long(folder: str) -> None:
    assert too_long(ROOT / folder) == []


def test_a_long_file_is_seen(tmp_path: Path) -> None:
    for name, lines in (("short", LINES), ("long", LINES + 1)):
        (tmp_path / f"{name}.py").write_text("\n" * lines, encoding="utf-8")
    assert too_long(tmp_path) == [f"long.py has {LINES + 1} lines"]
