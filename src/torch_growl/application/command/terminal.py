"""The output of the command: its consoles, warnings and tables."""

from __future__ import annotations

import json
import os
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from torch_growl.checksums import parse_json
from torch_growl.errors import GrowlWarning

if TYPE_CHECKING:
    from torch_growl.application.recipes import Recipe
    from torch_growl.application.tasks import Metric
    from torch_growl.networks.diagnosis import Diagnosis
    from torch_growl.networks.measurement import Comparison, Measurement

__all__ = [
    "as_json",
    "be_quiet",
    "begin_output",
    "console",
    "latency_table",
    "recipe_table",
    "show_diagnosis",
    "show_error",
    "show_json",
    "show_line",
    "show_warnings",
    "size_table",
    "study_table",
    "sweep_table",
]

console = Console()
_errors = Console(stderr=True)
_form = {"json": False}  # of the output of the command that runs


def begin_output() -> None:
    """Show everything, as text: how each command starts. Of several processes, all but the first one are silent."""
    console.quiet, _form["json"] = _is_silent(), False


def _is_silent() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("RANK", "0") != "0"


def be_quiet(asked: bool) -> None:
    """Show nothing but warnings and errors from now on, if it is asked for."""
    console.quiet = console.quiet or asked


def as_json(asked: bool) -> None:
    """Show one JSON object in place of all text, if it is asked for."""
    _form["json"] = _form["json"] or asked
    be_quiet(asked)


def show_json(value: Any) -> None:
    """Print the result of a command as JSON, if that is asked for."""
    if _form["json"] and not _is_silent():
        print(json.dumps(value, indent=2, ensure_ascii=False))


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
    if issubclass(category, GrowlWarning) and not _is_silent():
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


def size_table(metric: Metric, scores: Sequence[float], sizes: Sequence[Measurement]) -> Table:
    """The score and the size of a network before and after it was made smaller."""
    table = Table()
    for title in ("", "dense", "compact", "left"):
        table.add_column(title, justify="left" if not title else "right")
    table.add_row(metric.name, *(metric.text(score) for score in scores), metric.change(scores[0], scores[1]))
    for title, key in (("weights", "weights"), ("MACs", "macs"), ("bytes", "bytes")):
        before, after = (getattr(size, key) for size in sizes)
        table.add_row(title, f"{before:,}", f"{after:,}", f"{after / before:.1%}")
    return table


def show_diagnosis(diagnosis: Diagnosis) -> None:
    """Print the layers of a diagnosis, under each one why it is left out or only its own inputs can be removed.

    A layer is one line where that fits the terminal; otherwise its name is a line of its own. The output of a pipe has
    no width, unless COLUMNS gives one.
    """
    (*titles, _), *lines = diagnosis.cells()
    wide = [len(max(column, key=len)) for column in zip(titles, *(line[:-1] for line in lines), strict=True)]
    narrow = sum(wide) + 2 * (len(wide) - 1) > console.width and (console.is_terminal or "COLUMNS" in os.environ)
    shown = slice(2, -2) if narrow else slice(None)
    show_line(_in_columns(titles[shown], wide[shown], indent="  " if narrow else ""))
    for *cells, reason in lines:
        name, kind, *_, weights, macs = cells
        if narrow:
            show_line(f"{name} ({kind})")
        show_line(_in_columns(cells[shown], wide[shown], indent="  " if narrow else ""))
        if narrow and (weights, macs) != ("0", "0"):
            _show_indented(f"removing half of its rows saves {weights} weights and {macs} MACs")
        if reason:
            _show_indented(reason)
    show_line(f"{diagnosis.weights:,} weights, {diagnosis.macs:,} MACs at batch 1")
    show_line("")
    for line in diagnosis.outlook():
        if len(line) > console.width and (console.is_terminal or "COLUMNS" in os.environ):
            show_line("\n".join(textwrap.wrap(line, console.width, subsequent_indent="  ", break_on_hyphens=False)))
        else:
            show_line(line)


def _in_columns(cells: Iterable[str], widths: Iterable[int], indent: str) -> str:
    return (indent + "  ".join(map(str.ljust, cells, widths))).rstrip()


def _show_indented(text: str) -> None:
    """Print text as indented lines that fit the terminal; as one line to a pipe without COLUMNS."""
    if console.is_terminal or "COLUMNS" in os.environ:
        for line in textwrap.wrap(text, max(console.width - 6, 20), break_on_hyphens=False):
            show_line(f"      {line}")
    else:
        show_line(f"      {text}")


def sweep_table(result_file: Path) -> Table:
    """The points of a sweep's ``sweep.json``."""
    from torch_growl.application.tasks import metric_of, scores_of
    from torch_growl.networks.measurement import in_words

    kept = parse_json(result_file.read_bytes(), str(result_file))
    metric = metric_of(kept)
    table = Table(title=f"{kept['recipe']}: {metric.name} against size", title_justify="left")
    for title in ("strength", metric.name, "bytes, indices packed", "file", "MACs", "run"):
        table.add_column(title, justify="left" if title == "run" else "right")
    for point in kept["points"]:
        dense, compact = point["macs"]["dense"], point["macs"]["compact"]
        macs = dense / compact if compact else None
        table.add_row(
            f"{point['strength']:g}",
            metric.text(scores_of(point)["compact"]),
            in_words(point["compression"]["network"], "smaller", "larger"),
            in_words(point["compression"]["file"], "smaller", "larger"),
            in_words(macs, "fewer", "more"),
            point["run"],
        )
    return table


def study_table(outcome: dict[str, Any]) -> Table:
    """The Pareto front of a study's ``study.json``; the best trial is marked."""
    from torch_growl.application.tasks import metric_of

    metric = metric_of(outcome)
    of = outcome["trials"]
    title = f"{outcome['recipe']}: {of['complete']} trials complete, {of['pruned']} stopped, {of['failed']} failed"
    table = Table(title=f"{title}; Pareto front", title_justify="left")
    for name in ("trial", f"{metric.name}, validation", "times smaller", "settings"):
        table.add_column(name, justify="left" if name == "settings" else "right")
    points = {point["number"]: point for point in outcome["points"]}
    for number in outcome["front"]:
        point = points[number]
        mark = " (best)" if number == outcome["best"] else ""
        table.add_row(f"{number}{mark}", metric.text(point["score"]), f"{point['compression']:.2f}", point["params"])
    return table
