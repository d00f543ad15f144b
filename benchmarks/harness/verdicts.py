"""Compares measured ratios with targets: a sentence, a limit, and every ratio that it covers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["judge", "show", "show_rows"]


def judge(says: str, limit: float, ratios: Mapping[str, float]) -> dict[str, Any]:
    """Compare ratios with a limit.

    Args:
        says: the target in words.
        limit: the most a ratio may be.
        ratios: where measured → ratio. Without any, the target counts as not met.

    Returns:
        ``{"says", "limit", "met", "held", "of", "worst", "where", "missed"}``: held in so many of so many places, the
        worst ratio and where; missed: all ratios above the limit.
    """
    worst = max(ratios, key=lambda where: ratios[where], default=None)
    missed = {where: round(ratio, 3) for where, ratio in ratios.items() if not ratio <= limit}
    return {
        "says": says,
        "limit": limit,
        "met": bool(ratios) and not missed,
        "held": len(ratios) - len(missed),
        "of": len(ratios),
        "worst": None if worst is None else round(ratios[worst], 3),
        "where": worst,
        "missed": missed,
    }


def show(targets: Iterable[Mapping[str, Any]]) -> None:
    """Print the verdicts."""
    from rich.console import Console
    from rich.table import Table

    table = Table("target", "limit", "worst", "where", "held", "met", title="targets")
    for target in targets:
        worst = "–" if target["worst"] is None else f"{target['worst']:.2f}x"
        held = f"{target['held']} of {target['of']}"
        met = "[green]yes[/]" if target["met"] else "[red]no[/]"
        table.add_row(target["says"], f"{target['limit']:g}x", worst, target["where"] or "–", held, met)
    Console(width=150).print(table)


def show_rows(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of text with its numbers to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for i, column in enumerate(head):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=150).print(table)
