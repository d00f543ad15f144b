"""The outcome of a study: its Pareto front, its best trial, the rule for hopeless trials, and the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch_growl.application.plots import curve_figure
from torch_growl.application.tasks import Metric
from torch_growl.checksums import sealed_json
from torch_growl.files import write_bytes, write_text

__all__ = ["BETTER_TRIALS", "Point", "best_of", "front_of", "is_hopeless", "write_outcome"]

BETTER_TRIALS = 3  # a trial is stopped if so many finished ones were better and smaller at its epoch

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ name }}: study</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ccc; text-align: right; }
td:last-child, th:last-child { text-align: left; } img { max-width: 100%; } .best { font-weight: bold; }
</style></head><body>
<h1>{{ name }}: {{ metric.name }} against size</h1>
<p>{{ count.complete }} trials are complete, {{ count.pruned }} were stopped as hopeless, {{ count.failed }} failed.
{% if best is none %}No trial is within {{ drop }} of the dense network's {{ metric.name }}, {{ dense }}.
{% else %}The smallest network within {{ drop }} of the dense network's {{ metric.name }}, {{ dense }} on the validation
split, is that of trial {{ best }}.{% endif %}</p>
<img alt="{{ metric.name }} of all trials against how many times smaller the network is" src="{{ picture }}">
<h2>Pareto front</h2>
<table><tr><th>trial</th><th>{{ metric.name }}, validation</th><th>times smaller</th><th>settings</th></tr>
{% for point in front %}<tr{% if point.number == best %} class="best"{% endif %}>
<td>{% if point.run %}<a href="{{ point.run }}/report.html">{{ point.number }}</a>
{%- else %}{{ point.number }}{% endif %}</td>
<td>{{ metric.text(point.score) }}</td>
<td>{{ "%.2f" % point.compression }}</td><td>{{ point.params }}</td></tr>
{% endfor %}</table></body></html>
"""


@dataclass(frozen=True)
class Point:
    """A complete trial.

    Attributes:
        number: the trial's.
        score: the metric on the validation split after the last training.
        compression: bytes of the dense network over those of the compact one.
        params: the settings.
        run: the name of its run folder; empty if it is another worker's, in another folder.
    """

    number: int
    score: float
    compression: float
    params: str
    run: str


def front_of(points: Sequence[Point], metric: Metric) -> list[Point]:
    """The points that no other one beats in the metric and in size, the largest network first."""
    beaten = [
        any(
            _at_least(other.score, point.score, metric)
            and other.compression >= point.compression
            and (other.score, other.compression) != (point.score, point.compression)
            for other in points
        )
        for point in points
    ]
    left = [point for point, lost in zip(points, beaten, strict=True) if not lost]
    return sorted(left, key=lambda point: (point.compression, point.number))


def best_of(points: Sequence[Point], metric: Metric, dense: float, drop: float) -> Point | None:
    """The smallest network whose metric is within a drop of the dense network's; None if there is none.

    Args:
        points: the complete trials.
        metric: the task's.
        dense: the dense network's value on the validation split.
        drop: in the unit in which the metric is shown.
    """
    within = [point for point in points if metric.factor * metric.lost(dense, point.score) <= drop]
    return max(within, key=lambda point: (point.compression, -point.number), default=None)


def is_hopeless(
    curve: Sequence[Sequence[float]], finished: Sequence[Sequence[Sequence[float]]], metric: Metric
) -> bool:
    """Tell whether several finished trials were better and smaller at the epoch that a trial has reached.

    Args:
        curve: for each epoch of the trial the metric and the compression of the penalised layers.
        finished: the curves of the complete trials.
        metric: the task's.
    """
    score, size = curve[-1]
    reached = [each[len(curve) - 1] for each in finished if len(each) >= len(curve)]
    better = [
        _at_least(other_score, score, metric) and other_size >= size and (other_score, other_size) != (score, size)
        for other_score, other_size in reached
    ]
    return sum(better) >= BETTER_TRIALS


def _at_least(value: float, other: float, metric: Metric) -> bool:
    return metric.lost(value, other) >= 0


def write_outcome(
    folder: Path, name: str, points: Sequence[Point], others: dict[str, int], metric: Metric, dense: float, drop: float
) -> dict[str, Any]:
    """Write ``study.json``, ``study.png`` and ``study.html``; return what is in the first.

    Args:
        folder: the study's.
        name: the recipe's.
        points: the complete trials, at least one.
        others: how many were ``pruned`` and ``failed``.
        metric: the task's.
        dense: the dense network's value on the validation split.
        drop: the drop within which the best is.
    """
    from jinja2 import Environment

    front, best = front_of(points, metric), best_of(points, metric, dense, drop)
    kept = {
        "recipe": name,
        "metric": metric.to_dict(),
        "dense": dense,
        "drop": drop,
        "trials": {"complete": len(points), **others},
        "points": [asdict(point) for point in points],
        "front": [point.number for point in front],
        "best": None if best is None else best.number,
    }
    write_text(folder / "study.json", sealed_json(kept, indent=2))
    curves = {"Pareto front": [(point.compression, point.score) for point in front]}
    figure = curve_figure(curves, dense=dense, metric=metric)
    axis = figure.axes[0]
    axis.plot([p.compression for p in points], [metric.factor * p.score for p in points], "o", color="0.7", zorder=0)
    axis.set_ylabel(axis.get_ylabel().replace("test split", "validation split"))
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_bytes(folder / "study.png", picture.getvalue())
    page = Environment(autoescape=True).from_string(_PAGE)
    text = page.render(
        name=name,
        metric=metric,
        count=kept["trials"],
        best=kept["best"],
        front=front,
        dense=metric.text(dense),
        drop=f"{drop:g}",
        picture=f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}",
    )
    write_text(folder / "study.html", text)
    return kept
