"""Kept results, one JSON file each in ``benchmarks/results``, with the environment in which they were measured.

``Kept`` holds what a long run has measured so far, and ``read`` and ``write`` the finished jobs of an experiment.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from torch_growl.application.runs.environment import environment_record
from torch_growl.files import write_text

__all__ = ["Kept", "commit", "exists", "load", "parts", "read", "save", "write"]

RESULTS = Path(__file__).parents[1] / "results"


def exists(name: str) -> bool:
    """Tell whether a result is kept."""
    return _path(name).is_file()


def load(name: str) -> dict[str, Any]:
    """Read a kept result."""
    return dict(read(_path(name)))


def save(name: str, data: Mapping[str, Any], *, packages: tuple[str, ...] = ()) -> Path:
    """Keep a result as ``benchmarks/results/NAME.json`` with the environment and the versions of ``packages``."""
    where = {**environment_record(torch.device("cpu")), "commit": commit(), "date": time.strftime("%Y-%m-%d")}
    where["cores"] = os.cpu_count()
    where["packages"] = {package: _version(package) for package in ("numpy", "numba", "scipy", *packages)}
    RESULTS.mkdir(exist_ok=True)
    write_text(_path(name), json.dumps({**data, "environment": where}, indent=1, ensure_ascii=False) + "\n")
    return _path(name)


def commit() -> str:
    """Return the commit that was checked out when the process started: a result of several runs records one of each."""
    return _AT_START


def read(path: Path) -> Any:
    """Read a finished job."""
    return json.loads(path.read_text("utf-8"))


def parts(path: Path) -> dict[str, Any]:
    """Read the finished jobs of a file, by key; none before the first one is written."""
    return dict(read(path)) if path.exists() else {}


def write(path: Path, data: Any) -> None:
    """Write a finished job, whole or not at all."""
    write_text(path, json.dumps(data))


class Kept:
    """The parts of an unfinished result, by key, one line of a file each.

    Args:
        name: of the result.
        resume: go on from the parts of an earlier run; otherwise they are deleted.
    """

    def __init__(self, name: str, *, resume: bool = True) -> None:
        self.path = RESULTS / f"{name}.partial.jsonl"
        RESULTS.mkdir(exist_ok=True)
        if not resume:
            self.done()
        lines = self.path.read_text("utf-8").splitlines() if self.path.exists() else []
        self.found: dict[str, Any] = dict(json.loads(line) for line in lines)

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """Return the part under a key; a missing one is made and kept."""
        if key not in self.found:
            self.found[key] = made = make()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, made]) + "\n")
        return self.found[key]

    def done(self) -> None:
        """Delete the parts, once the whole result is kept."""
        self.path.unlink(missing_ok=True)


def _path(name: str) -> Path:
    return RESULTS / f"{name}.json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


_AT_START = _commit()
