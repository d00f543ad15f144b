"""Writes what the examples of the tasks end with into the page on tasks.

Run it with ``python -m benchmarks.learning.pages.task_tables``.
"""

from __future__ import annotations

from benchmarks.harness import results
from benchmarks.harness.markdown import markdown
from benchmarks.harness.pages import DOCS, Page, where_measured
from torch_growl.application.tasks import Metric

__all__ = ["PAGE", "main"]

_OF = {"macs": "MACs"}


def examples() -> str:
    """Return what was asked of every example, what is left, its metric before and after, and its time."""
    rows = []
    for name, one in results.load("task_examples")["examples"].items():
        target, metric = one["target"], Metric(**one["metric"])
        asked, left = (target[key] / target["dense"] for key in ("asked", "left"))
        scores = [metric.text(one["score"][stage]) for stage in ("dense", "compact")]
        of = _OF.get(target["of"], target["of"])
        row = [f"{metric.name}, {'higher' if metric.higher_is_better else 'lower'} is better", *scores]
        rows.append([name, f"{asked:.0%} of the {of}", f"{left:.1%}", *row, f"{one['cpu_seconds']:.0f}"])
    return markdown(["example", "asked", "left", "test metric", "dense", "compact", "seconds"], rows)


PAGE = Page(
    DOCS / "tasks.md",
    {"examples": examples, "where-examples": lambda: where_measured(results.load("task_examples"))},
)


def main() -> None:
    """Fill the page."""
    PAGE.fill()


if __name__ == "__main__":
    main()
