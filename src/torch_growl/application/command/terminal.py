"""The output of the command: its consoles, warnings and tables."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from torch_growl.errors import GrowlWarning

if TYPE_CHECKING:
    from torch_growl.application.recipes import Recipe
    from torch_growl.networks.measurement import Comparison, Diagnosis

__all__ = [
    "console",
    "latency_table",
    "recipe_table",
    "show_diagnosis",
    "show_error",
    "show_line",
    "show_warnings",
    "sweep_table",
]

console = Console()
_errors = Console(stderr=True)


def show_line(text: str) -> None:
    """Print text as it is: no markup, no colours, and no line breaks within paths."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def show_error(text: str) -> None:
    """Print one line to stderr."""
    _errors.print(text, highlight=False, markup=False, soft_wrap=True)


def show_warnings() -> None:
    """From now on print the library's own warnings as one line each to stderr, and no others."""
    warnings.showwarning = _show_warning


def _show_warning(
    message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    if issubclass(category, GrowlWarning):
        show_error(f"warning: {message}")


def recipe_table(recipes: dict[str, Recipe]) -> Table:
    """Name, data and description of recipes."""
    table = Table(box=None, pad_edge=False)
    for title in ("recipe", "data", "what it does"):
        table.add_column(title, no_wrap=title == "recipe")
    for name, recipe in recipes.items():
        table.add_row(name, recipe.data.name, recipe.description)
    return table


def latency_table(comparisons: Iterable[Comparison], threads: int) -> Table:
    """Milliseconds of the dense and the compact network, for every runtime and batch size."""
    table = Table(title=f"latency, median ms, threads: {threads}", title_justify="left")
    for title in ("runtime", "batch", "dense", "compact", "compact is"):
        table.add_column(title, justify="left" if title in ("runtime", "compact is") else "right")
    for each in comparisons:
        shown = ("–" if ms is None else f"{ms:.3f}" for ms in (each.dense_ms, each.compact_ms))
        table.add_row(each.runtime, str(each.batch), *shown, each.verdict)
    return table


def show_diagnosis(diagnosis: Diagnosis) -> None:
    """Print one line for every layer, and below them why a layer is left out or only its own inputs can be removed."""
    titles, *lines = diagnosis.cells()
    table = Table(box=None, pad_edge=False)
    for title in titles[:-1]:
        table.add_column(title, overflow="fold")
    for line in lines:
        table.add_row(*line[:-1])
    console.print(table, markup=False)
    console.print()
    for line in lines:
        if line[-1]:
            show_line(f"{line[0]}: {line[-1]}")
    show_line(f"{diagnosis.weights:,} weights, {diagnosis.macs:,} MACs at batch 1")


def sweep_table(result_file: Path) -> Table:
    """The points of a sweep's ``sweep.json``."""
    kept = json.loads(result_file.read_text(encoding="utf-8"))
    table = Table(title=f"{kept['recipe']}: accuracy against size", title_justify="left")
    for title in ("strength", "accuracy", "bytes", "file", "MACs", "run"):
        table.add_column(title, justify="left" if title == "run" else "right")
    for point in kept["points"]:
        macs = point["macs"]["dense"] / point["macs"]["compact"]
        table.add_row(
            f"{point['strength']:g}",
            f"{point['accuracy']['compact']:.2%}",
            f"{point['compression']['network']:.2f}x fewer",
            f"{point['compression']['file']:.2f}x smaller",
            f"{macs:.2f}x fewer",
            point["run"],
        )
    return table
