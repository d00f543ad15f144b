"""Rings, rooms and doors: the tree keeps the rules of ``tests/support/house.py``, and a planted offence is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.house import CHECKS, LINES, House, optional_packages, third_parties, too_long
from tests.support.imports import PACKAGE

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / PACKAGE
EXTRAS = optional_packages(ROOT / "pyproject.toml")


@pytest.fixture(scope="module")
def house() -> House:
    return House(SOURCE, EXTRAS)


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
    "import_module of a made-up name": Plant(
        OUTWARD, MATHEMATICS, 'import_module(f"torch_growl.networks.{name}")', "imports torch_growl.networks"
    ),
    "__import__": Plant(OUTWARD, MATHEMATICS, '__import__("torch_growl.networks.layers")', "networks.layers"),
    "from beside the rings": Plant(OUTWARD, "errors.py", "from torch_growl.mathematics.owl import slope", "owl.slope"),
    # rooms
    "a later room": Plant(LATER, NETWORKS, "from torch_growl.networks.wiring import Wiring", "later room"),
    "the room beside": Plant(LATER, PENALTY, "from torch_growl.networks.tying import Tying", "room beside"),
    "a room of two": Plant("rooms are of three to eight", "networks/new/__init__.py", '"""A room."""', "0 modules"),
    "a room that is not listed": Plant("lists name the folders", "networks/new/one.py", "", "'new'"),
    "a module beside the rooms": Plant("every module lies in a room", "networks/new.py", "", "networks.new lies"),
    "a module beside the rings": Plant("every module lies in a room", "helpers.py", "", "helpers lies beside"),
    "a folder in a room": Plant("every module lies in a room", "networks/layers/new/one.py", "", "layers.new.one lies"),
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
    "a door names too much": Plant(EXACT, "networks/layers/__init__.py", ' "planted",]', "layers names planted", "]"),
    "a door names too little": Plant(
        EXACT, "networks/layers/__init__.py", "", "layers does not name kind_of", '"kind_of",'
    ),
    "code in a door": Plant(
        "doors are a paragraph and names", "networks/layers/__init__.py", "def planted(): ...", "FunctionDef"
    ),
    "names of a ring": Plant(
        "doors are a paragraph and names", "networks/__init__.py", "from torch_growl.networks.layers import x", "ring's"
    ),
    "a function with a module's name": Plant(
        "no module shares a function s name", "networks/layers/__init__.py", "from .kinds import kinds", "layers.kinds"
    ),
    # third parties
    "a third party": Plant(THIRD, MATHEMATICS, "from sklearn.cluster import KMeans", "sklearn.cluster.KMeans"),
    "a third party in a function": Plant(THIRD, NETWORKS, f"{FUNCTION}import rich.console", "rich.console"),
    "a third party beside the rings": Plant(THIRD, "errors.py", "import rich", "errors:"),
    "a third party that is not used": Plant(
        THIRD, "networks/__init__.py", "Third parties: yaml, ", "networks lists yaml", "Third parties: "
    ),
    "an extra at the top": Plant(EXTRA, NETWORKS, "try:\n    import onnx\nexcept ImportError: ...", "imports onnx"),
    "a module in mathematics": Plant("mathematics knows no modules", MATHEMATICS, "from torch import nn", "torch.nn"),
    # length
    "a long file": Plant("no module is long", MATHEMATICS, "\n" * LINES, "sequences.py has"),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_offence_is_seen(name: str, house: House, tmp_path: Path) -> None:
    plant = PLANTS[name]
    copy = copied(tmp_path)
    file = copy / plant.file
    file.parent.mkdir(exist_ok=True)
    text = file.read_text("utf-8") if file.exists() else ""
    assert not plant.stands or plant.stands in text
    text = text.replace(plant.stands, plant.text, 1) if plant.stands else f"{text}\n{plant.text}\n"
    file.write_text(text, encoding="utf-8")
    before, after = CHECKS[plant.check](house), CHECKS[plant.check](House(copy, EXTRAS))
    new = [offence for offence in after if offence not in before]
    assert any(plant.said in offence for offence in new), after


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
    doors = [",".join(door for door in house.doors if door.startswith(f"{ring}.")) for ring in house.rings]
    command = [sys.executable, "-c", LOADS, *doors]
    env = {**os.environ, "PYTHONPATH": str(package.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file, *lines = done.stdout.splitlines()
    assert Path(file).parent == package
    return {ring: set(names) for ring, *names in map(str.split, lines)}


def too_much(found: dict[str, set[str]], house: House) -> list[str]:
    heavy = {"numba", *EXTRAS} - {"pytest", "hypothesis", "mypy", "ruff"}
    assert found["package"] == set()
    assert found.keys() == {"package", *house.rings}
    outer = set(third_parties(house, house.rings[-1]))
    wrong = []
    for ring in house.rings:
        unwanted = heavy | (outer - set(third_parties(house, ring)) if ring != house.rings[-1] else set())
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
