"""The options of all benchmark commands, and the place of their results."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.harness import results

__all__ = ["keep", "missing", "options", "workplace"]


def options(says: str | None) -> argparse.ArgumentParser:
    """Return a parser with ``--quick`` and ``--name``."""
    first = (says or "").strip().splitlines()[0]
    parser = argparse.ArgumentParser(description=first)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds, to see that the command works")
    parser.add_argument("--name", help="keep the result as results/NAME.json; a quick result is kept only with a name")
    return parser


def workplace(given: argparse.Namespace) -> Path:
    """Return the folder of checkpoints, ``--work``; quick runs have a subfolder of their own."""
    folder: Path = given.work / "quick" if given.quick else given.work
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep(given: argparse.Namespace, benchmark: str, data: Mapping[str, Any], packages: tuple[str, ...] = ()) -> None:
    """Save a result with the command that makes it, and print where."""
    name = given.name or (None if given.quick else benchmark.rpartition(".")[2])
    if name is None:
        print("a quick run: nothing kept (give it a --name to keep it)")
        return
    command = f"python -m benchmarks.{benchmark}{' --quick' if given.quick else ''}"
    print("kept", results.save(name, {"command": command, "quick": given.quick, **data}, packages=packages))


def missing(modules: Mapping[str, str]) -> dict[str, str]:
    """Return those of name → module that cannot be imported, each with "not installed"."""
    return {name: "not installed" for name, module in modules.items() if find_spec(module) is None}
