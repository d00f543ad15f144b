"""Writes the kept results into ``docs/experiments.md``: ``python -m benchmarks.learning.pages.tables``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import pages, timing
from benchmarks.learning.pages import mnist_tables as mnist
from benchmarks.learning.pages import network_tables as networks

__all__ = ["PAGE", "TABLES", "filled", "main"]

PAGE = Path(__file__).parents[3] / "docs" / "experiments.md"
NAMES = (
    "table1",
    "best",
    "curve",
    "one_strength",
    "lenet5",
    "resnet20",
    "ties",
    "decorrelated",
)
TABLES: dict[str, Callable[[], str]] = {
    **{f"where-{name}": (lambda name=name: where(name)) for name in NAMES},  # type: ignore[misc]
    "table1": mnist.table1,
    "once": mnist.once,
    "best": mnist.best,
    "methods": mnist.methods,
    "ties": mnist.ties,
    "decorrelated": mnist.decorrelated,
    "predictive": mnist.predictive,
    "one-strength": networks.one_strength,
    "lenet5": networks.lenet5,
    "resnet20": networks.resnet20,
    "table2": networks.table2,
}


def where(name: str) -> str:
    """Command, machine and date of a result; its command, where there is no result."""
    if not (timing.RESULTS / f"{name}.json").is_file():
        return f"`python -m benchmarks.learning.experiments.{name}`"
    return pages.where_measured(timing.load(name))


def filled(page: str) -> str:
    """The page with its tables written anew."""
    return pages.filled(page, TABLES)


def main() -> None:
    """Fill the page."""
    pages.fill(PAGE, TABLES)


if __name__ == "__main__":
    main()
