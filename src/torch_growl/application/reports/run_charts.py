"""The charts of a run's page: its metric against size, and its training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from torch_growl.application.pages import Point, Series, Track, size_chart, timeline
from torch_growl.application.plots import PERCENT, metric_limits
from torch_growl.application.reports.run_files import Epoch, ReportInput
from torch_growl.application.tasks import Metric, metric_of, scores_of
from torch_growl.networks.measurement import in_words

__all__ = ["SizeView", "size_view", "training_view"]

_MEASURES = {
    "weights": "weights",
    "macs": "MACs",
    "bytes": "bytes in memory",
    "file_bytes": "bytes of the file",
    "latency_ms": "time of a call",
}
_NETWORK = "bytes, indices packed"
_NEAR = 0.04  # of the metric: epochs are drawn beside tested networks if they differ by less
_DROP = "accuracy_drop"  # a target whose records count weights


@dataclass(frozen=True)
class SizeView:
    """The chart of the metric against size, with its points as text.

    Attributes:
        chart: HTML.
        of: what is smaller.
        points: for each network its name, how many times smaller it is, and its metric.
        path: whether the epochs of the training are drawn too.
    """

    chart: str
    of: str
    points: list[tuple[str, str, str]]
    path: bool


def size_view(given: ReportInput) -> SizeView | None:
    """Draw the metric against size: the dense network, this run, its sweep, and the epochs that led to its target.

    Returns:
        None if neither network has a metric and a size.
    """
    metric, score = metric_of(given.result), scores_of(given.result)
    of, ratio = _ratio(given)
    dense, compact = _finite(score.get("dense")), _finite(score.get("compact"))
    series: list[Series] = []
    path = [] if given.sweep else _path(given.epochs)
    tested = [value for value in (dense, compact) if value is not None]
    also: list[float] = []
    if path and tested:
        usual = sorted(value for _, _, value in path)[len(path) // 2]
        if all(abs(usual - value) <= _NEAR * (1 if metric.unit == PERCENT else abs(value)) for value in tested):
            also = [usual]
        else:
            path = []  # the validation split is much harder or easier
    if path:
        name = f"an epoch of the training with the penalty, {metric.name} on the validation split"
        marks = tuple(Point(size, value, title=f"epoch {n}: {_of(metric, value, size)}") for n, size, value in path)
        series.append(Series(name, "c6", "circle", marks, faint=True))
    if given.sweep:
        others = sorted(
            (each.compression.network, value, each.strength)
            for each in given.sweep
            if each.compression.network and (value := _finite(each.score.get("compact"))) is not None
        )
        marks = tuple(Point(size, v, title=f"strength {s:g}: {_of(metric, v, size)}") for size, v, s in others)
        series.append(Series("the runs of the sweep", "c2", "square", marks, "line"))
    named: list[tuple[str, Point]] = []
    if dense is not None:
        named.append(("dense", Point(1.0, dense, f"dense {metric.text(dense, 1)}", metric.text(dense))))
        series.append(Series("dense network", "c3", "diamond", (named[-1][1],)))
    target = given.facts.target
    before = _finite(score.get("regularized"))
    if target is not None and target.of in _MEASURES and target.pruned not in (0, target.left) and before is not None:
        size = target.dense / target.pruned
        named.append(("pruned, before tying", Point(size, before, "", f"before tying: {_of(metric, before, size)}")))
        series.append(Series("pruned, before tying", "c4", "triangle", (named[-1][1],)))
    if ratio is not None and compact is not None:
        text = f"this run {metric.text(compact, 1)}"
        named.append(("this run, compact", Point(ratio, compact, text, _of(metric, compact, ratio))))
        series.append(Series("this run", "c1", "circle", (named[-1][1],)))
    if not any(each.points and not each.faint for each in series):
        return None
    asked = target.dense / target.asked if target is not None and target.of in _MEASURES and target.asked > 0 else None
    said = "; ".join(f"{name}: {point.title.removeprefix('before tying: ')}" for name, point in named)
    chart = size_chart(
        series, metric, of=of, name=f"{metric.title} against size. {said}", dense=dense, asked=asked, also=also
    )
    points = [(name, f"{point.size:,.2f}x", metric.text(point.score)) for name, point in named]
    points += [(p.title.split(":")[0], f"{p.size:,.2f}x", metric.text(p.score)) for p in _sweep_points(series)]
    return SizeView(chart, of, points, bool(path))


def _sweep_points(series: list[Series]) -> tuple[Point, ...]:
    return next((each.points for each in series if each.look == "c2"), ())


def _ratio(given: ReportInput) -> tuple[str, float | None]:
    """Name what the chart's sizes count, and compute how many times smaller the compact network is in it."""
    facts, target = given.facts, given.facts.target
    if given.sweep or target is None or (target.of != _DROP and target.of not in _MEASURES):
        return _NETWORK, facts.compression.network
    if target.of == _DROP:
        dense, compact = facts.parameters.dense, facts.parameters.compact
        return "weights", dense / compact if dense and compact else None
    return _MEASURES[target.of], target.dense / target.left if target.left > 0 else None


def _finite(value: float | None) -> float | None:
    """Return a value that can be drawn, None for others."""
    return value if value is not None and math.isfinite(value) else None


def _path(epochs: list[Epoch]) -> list[tuple[int, float, float]]:
    """Number, size and metric of every epoch that has a record of the target."""
    records = [(e.epoch, e.target, e.validation_score) for e in epochs]
    return [
        (n, to.dense / to.left, value)
        for n, to, value in records
        if to is not None and to.left and math.isfinite(value)
    ]


def _of(metric: Metric, value: float, size: float) -> str:
    return f"{metric.text(value)}, {in_words(size, 'smaller', 'larger')}"


def training_view(given: ReportInput) -> str | None:
    """Draw the metric, the rows and the target's measure over the epochs of all stages; None if none was trained."""
    if not given.epochs:
        return None
    metric, epochs = metric_of(given.result), given.epochs
    validation = tuple(_finite(epoch.validation_score) for epoch in epochs)
    train = tuple(_finite(epoch.train_score) for epoch in epochs)
    tracks = [Track(f"validation {metric.name}", "c1", validation), Track(f"training {metric.name}", "c5", train, True)]
    left = _rows_left(epochs)
    target = given.facts.target
    if target is not None:
        name = "weights" if target.of == _DROP else _MEASURES.get(target.of, target.of)
        values = tuple(
            None if e.target is None or e.target.left is None else e.target.left / e.target.dense for e in epochs
        )
        left.append(Track(f"{name} left", "c2", values))
        if target.of != _DROP:
            asked = tuple(None if e.target is None else e.target.asked / e.target.dense for e in epochs)
            left.append(Track(f"{name} asked", "c2", asked, True))
    low, high = metric_limits(metric.factor * np.asarray([*train, *validation], dtype=np.float64), metric)
    ends = {epoch.stage: epoch.validation_score for epoch in epochs}
    said = ", ".join(f"{stage} ends with {metric.text(value, 1)}" for stage, value in ends.items())
    return timeline(
        [epoch.stage for epoch in epochs],
        tracks,
        left,
        metric,
        limits=(low / metric.factor, high / metric.factor),
        name=f"Training, {len(epochs)} epochs; validation {metric.name}: {said}",
    )


def _rows_left(epochs: list[Epoch]) -> list[Track]:
    """Tracks of nonzero and distinct rows; of runs without these counts, the weights of the regularised layers."""
    if not all(epoch.layers for epoch in epochs):
        return [Track("distinct weights of the regularised layers", "c3", tuple(1 / e.compression for e in epochs))]
    totals = [
        [sum(getattr(rows, of) for rows in e.layers.values()) for of in ("rows", "nonzero", "distinct")] for e in epochs
    ]
    nonzero = tuple(kept / max(rows, 1) for rows, kept, _ in totals)
    distinct = tuple(own / max(rows, 1) for rows, _, own in totals)
    return [Track("rows that are not pruned", "c3", nonzero), Track("distinct rows", "c4", distinct, True)]
