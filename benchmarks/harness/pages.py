"""Pages of the docs whose tables are made from kept results.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` and is made from a JSON of ``benchmarks/results``
alone, so a figure in the docs is the figure that was measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.markdown import markdown
from torch_growl.files import write_text

__all__ = ["DOCS", "IMAGES", "Page", "targets", "where_measured"]

DOCS = Path(__file__).parents[2] / "docs"
IMAGES = DOCS / "images"

_PLACE = re.compile(r"(<!-- table: ([a-z0-9_-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A page of the docs and the functions that make its tables.

    Args:
        path: the Markdown file.
        tables: name → function that returns a Markdown table.
    """

    path: Path
    tables: Mapping[str, Callable[[], str]]

    def filled(self, text: str) -> str:
        """Return a text with every marked table made anew; an unknown table is a KeyError."""
        return _PLACE.sub(lambda place: f"{place[1]}{self.tables[place[2]]()}\n{place[3]}", text)

    def fill(self) -> None:
        """Make every table of the file anew."""
        write_text(self.path, self.filled(self.path.read_text("utf-8")))
        print("wrote", self.path)


def where_measured(data: Mapping[str, Any]) -> str:
    """Return one line: command, date, commit, machine, versions."""
    where = data["environment"]
    packages = ", ".join(f"{package} {version}" for package, version in sorted(where["packages"].items()))
    quick = " **A quick run, only to see that the command works.**" if data["quick"] else ""
    return (
        f"`{data['command']}`, {where['date']}, commit {where['commit']}: {where['processor']}, {where['cores']} "
        f"cores, Python {where['python']}, torch {where['torch']}, {packages}.{quick}"
    )


def targets(name: str) -> str:
    """Return the table of a result's targets and of what was measured."""
    rows = [
        [
            t["says"],
            f"≤ {t['limit']:g}",
            "–" if t["worst"] is None else f"{t['worst']:.3g} ({t['where']})",
            f"{t['held']} of {t['of']}",
            "yes" if t["met"] else "**no**",
        ]
        for t in results.load(name)["targets"]
    ]
    return markdown(["ratio", "target", "worst measured", "holds in", "met"], rows)
