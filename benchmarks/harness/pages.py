"""Pages of the docs whose tables are made from kept results: what every ``…_tables`` module shares.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` and is made from a JSON of ``benchmarks/results``
alone, so a figure in the docs is the figure that was measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import timing
from benchmarks.harness.markdown import markdown

__all__ = ["fill", "filled", "targets", "where_measured"]

_PLACE = re.compile(r"(<!-- table: ([a-z0-9_-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """The page with every marked table written anew; a name that is not among the tables is a KeyError."""
    return _PLACE.sub(lambda place: f"{place[1]}{tables[place[2]]()}\n{place[3]}", page)


def fill(path: Path, tables: Mapping[str, Callable[[], str]]) -> None:
    """Fill the page in a file."""
    path.write_text(filled(path.read_text("utf-8"), tables), "utf-8")
    print("wrote", path)


def where_measured(data: Mapping[str, Any]) -> str:
    """One line: command, machine, versions, date."""
    where = data["environment"]
    packages = ", ".join(f"{package} {version}" for package, version in sorted(where["packages"].items()))
    quick = " **A quick run: only to see that it works.**" if data["quick"] else ""
    return (
        f"`{data['command']}`, {where['date']}, commit {where['commit']}: {where['processor']}, {where['cores']} "
        f"cores, Python {where['python']}, torch {where['torch']}, {packages}.{quick}"
    )


def targets(name: str) -> str:
    """What was aimed at and what came out."""
    rows = [
        [
            t["says"],
            f"≤ {t['limit']:g}",
            "–" if t["worst"] is None else f"{t['worst']:.3g} ({t['where']})",
            f"{t['held']} of {t['of']}",
            "yes" if t["met"] else "**no**",
        ]
        for t in timing.load(name)["targets"]
    ]
    return markdown(["ratio", "target", "worst measured", "holds in", "met"], rows)
