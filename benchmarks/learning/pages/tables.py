"""Writes the kept results into the page on experiments.

Run it with ``python -m benchmarks.learning.pages.tables``.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.harness import results
from benchmarks.harness.pages import DOCS, Page, where_measured
from benchmarks.learning.pages import mnist_tables as mnist
from benchmarks.learning.pages import network_tables as networks

__all__ = ["PAGE", "TABLES", "main"]

NAMES = (
    "table1",
    "table1_recipes",
    "best",
    "best_recipe",
    "curve",
    "one_strength",
    "lenet5",
    "resnet20",
    "table2_short",
    "ties",
    "decorrelated",
)
TABLES: dict[str, Callable[[], str]] = {
    **{f"where-{name}": (lambda name=name: where(name)) for name in NAMES},  # type: ignore[misc]
    "table1": mnist.table1,
    "table1_recipes": lambda: mnist.table1("table1_recipes"),
    "once": mnist.once,
    "best": mnist.best,
    "best_recipe": lambda: mnist.best("best_recipe"),
    "methods": mnist.methods,
    "at_sizes": mnist.at_sizes,
    "ties": mnist.ties,
    "decorrelated": mnist.decorrelated,
    "predictive": mnist.predictive,
    "one-strength": networks.one_strength,
    "lenet5": networks.lenet5,
    "resnet20": networks.resnet20,
    "table2": networks.table2,
    "table2_short": networks.table2_short,
}


def where(name: str) -> str:
    """Return command, machine and date of a result; without a result, the command."""
    if not results.exists(name):
        return f"`python -m benchmarks.learning.experiments.{name.removesuffix('_recipes').removesuffix('_recipe')}`"
    return where_measured(results.load(name))


PAGE = Page(DOCS / "experiments.md", TABLES)


def main() -> None:
    """Fill the page."""
    PAGE.fill()


if __name__ == "__main__":
    main()
