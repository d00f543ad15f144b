"""Writes the kept results of the paper's tables into the page on reproduction.

Run it with ``python -m benchmarks.learning.pages.paper_tables``.
"""

from __future__ import annotations

from benchmarks.harness.pages import DOCS, Page
from benchmarks.learning.pages.tables import TABLES

__all__ = ["PAGE", "main"]

PAPER = (
    "table1",
    "where-table1",
    "table1_recipes",
    "where-table1_recipes",
    "table2",
    "table2_short",
    "where-table2_short",
)
PAGE = Page(DOCS / "reproduction.md", {name: TABLES[name] for name in PAPER})


def main() -> None:
    """Fill the page."""
    PAGE.fill()


if __name__ == "__main__":
    main()
