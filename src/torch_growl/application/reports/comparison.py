"""The comparison of several runs on one page: figures, curves over size, layers side by side, settings that differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from torch_growl.application.pages import LOOKS, MARKS, Point, Series, render, size_chart
from torch_growl.application.recipes import read_mapping
from torch_growl.application.reports.layer_parts import REST, cost_lines, short
from torch_growl.application.reports.run_files import ReportInput, read_run
from torch_growl.application.reports.summary import comparisons, percent
from torch_growl.application.reports.target_notes import target_line
from torch_growl.application.tasks import Metric, metric_of, scores_of
from torch_growl.errors import RunFolderError
from torch_growl.files import write_bytes
from torch_growl.networks.measurement import in_words

__all__ = ["make_comparison"]

_SETTINGS_OF_ONE = ("name", "description")  # fields of a recipe that are no settings


@dataclass(frozen=True)
class _Run:
    """A run on the page: its letter, the name of its folder, and its files."""

    letter: str
    folder: str
    given: ReportInput

    @property
    def title(self) -> str:
        return f"{self.letter}: {self.folder}"

    @property
    def metric(self) -> Metric:
        return metric_of(self.given.result)


def make_comparison(runs: Sequence[Path], out: Path) -> Path:
    """Write a page that compares finished runs; it needs no other file.

    Args:
        runs: two run folders or more, in the order of the page.
        out: the file of the page, replaced if it exists.

    Returns:
        ``out``.

    Raises:
        RunFolderError: there are fewer than two runs, one is given twice, or a file of one is missing or malformed.
    """
    if len(runs) < 2:
        raise RunFolderError(f"a comparison must have two run folders or more, got {len(runs)}")
    places = [Path(run).resolve() for run in runs]
    if twice := next((place for i, place in enumerate(places) if place in places[:i]), None):
        raise RunFolderError(f"{twice} is given twice; name every run once")
    if out.is_dir():
        raise RunFolderError(f"{out} is a folder; name a file for the page (--out)")
    found = [
        _Run(_letter(i), place.name, read_run(Path(run)))
        for i, (run, place) in enumerate(zip(runs, places, strict=True))
    ]
    page = render(
        "torch_growl.application.reports",
        "comparison.html.j2",
        {"percent": percent, "in_words": in_words, "short": short},
        runs=[_line(run) for run in found],
        charts=list(_charts(found)),
        letters=[run.letter for run in found],
        titles=[run.title for run in found],
        layers=_layers(found),
        settings=_settings(found),
    )
    write_bytes(out, page.encode("utf-8"))
    return out


def _letter(number: int) -> str:
    """Name the runs A, B, … Z, A2, B2, … in their order."""
    again, place = divmod(number, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(again + 1) if again else "")


def _line(run: _Run) -> dict[str, Any]:
    """The cells of one run in the table of runs."""
    facts = run.given.facts
    shown = {line.label: line for line in comparisons(run.given.result)}
    held = shown.get("bytes in memory") or shown.get("bytes, indices packed")
    timed = [line for label, line in shown.items() if label.startswith("ms at")]
    metric = shown.get(f"test {run.metric.name}")
    return {
        "letter": run.letter,
        "folder": run.folder,
        "what": f"{facts.recipe}, seed {facts.seed}: {facts.model} on {facts.dataset.name}",
        "metric": run.metric.name,
        "score": metric,
        "size": held,
        "file": shown.get("bytes in file"),
        "macs": shown.get("MACs"),
        "ms": timed[-1] if timed else None,
        "target": target_line(run.given.result),
        "reached": facts.target is None or facts.target.reached,
    }


def _charts(runs: Sequence[_Run]) -> Iterator[tuple[Metric, str]]:
    """Yield a chart for every metric; runs of one recipe, network, data and seed are joined by a line."""
    for metric in dict.fromkeys(run.metric for run in runs):
        curves: dict[tuple[tuple[str, ...], int], list[tuple[float, float, str]]] = {}
        dense: dict[float, list[str]] = {}
        for run in (run for run in runs if run.metric == metric):
            facts, score = run.given.facts, scores_of(run.given.result)
            before, after, size = score.get("dense"), score.get("compact"), facts.compression.network
            if before is not None and math.isfinite(before):
                dense.setdefault(before, []).append(run.letter)
            if after is not None and math.isfinite(after) and size:
                kind = (facts.recipe, facts.model, facts.dataset.name)
                curves.setdefault((kind, facts.seed), []).append((size, after, run.letter))
        kinds = list(dict.fromkeys(kind for kind, _ in curves))
        series = [
            Series(
                ", ".join(kind),
                LOOKS[kinds.index(kind) % len(LOOKS)],
                MARKS[kinds.index(kind) % len(MARKS)],
                tuple(
                    Point(size, value, letter, f"{letter}: {_of(metric, value, size)}")
                    for size, value, letter in sorted(points)
                ),
                "line" if len(points) > 1 else "",
            )
            for (kind, _), points in curves.items()
        ]
        before = tuple(
            Point(1.0, value, "", f"dense network of {', '.join(letters)}: {metric.text(value)}")
            for value, letters in sorted(dense.items())
        )
        series.append(Series("dense networks", "c6", "diamond", before))
        if any(each.points for each in series):
            said = "; ".join(point.title for each in series for point in each.points)
            name = f"{metric.title} against size of {len(runs)} runs. {said}"
            yield metric, size_chart(series, metric, of="bytes, indices packed", name=name)


def _of(metric: Metric, value: float, size: float) -> str:
    return f"{metric.text(value)}, {in_words(size, 'smaller', 'larger')}"


def _layers(runs: Sequence[_Run]) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """For every layer of any run what is left of it in each run; None where the run has no such layer."""
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for run in runs:
        for layer in run.given.facts.layers:
            rows = {"rows": (layer.rows, layer.nonzero, layer.groups)}
            cells.setdefault(layer.name, {})[run.letter] = rows
        for cost in cost_lines(run.given.facts)[:-1]:
            if cost.name == REST:
                continue
            found = cells.setdefault(cost.name, {}).setdefault(run.letter, {})
            found["weights"], found["macs"] = cost.weights, cost.macs
    return [(name, [of.get(run.letter) for run in runs]) for name, of in cells.items()]


def _settings(runs: Sequence[_Run]) -> list[tuple[str, list[str]]]:
    """The fields of the recipes whose values differ."""
    fields = [dict(_flat(read_mapping(run.given.recipe, "its recipe.yaml"))) for run in runs]
    names = dict.fromkeys(name for each in fields for name in each)
    lines = [(name, [each.get(name, "–") for each in fields]) for name in names if name not in _SETTINGS_OF_ONE]
    return [(name, values) for name, values in lines if len(set(values)) > 1]


def _flat(fields: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the value of every field."""
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value)
