"""The chart of a metric against size: the dense network, runs, curves of a sweep and the way of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch_growl.application.pages.svg import Area, both_widths, legend, shown_width
from torch_growl.application.pages.ticks import factor_text, round_factors, round_values
from torch_growl.application.plots import PERCENT, Scale

__all__ = ["Point", "Series", "chart_limits", "size_chart"]


@dataclass(frozen=True)
class Point:
    """A network in the chart.

    Attributes:
        size: how many times smaller it is than the dense network, > 0.
        score: its metric.
        label: written beside the mark; empty: only the title says what it is.
        title: appears under the pointer.
    """

    size: float
    score: float
    label: str = ""
    title: str = ""


@dataclass(frozen=True)
class Series:
    """Networks of one kind.

    Attributes:
        name: for the legend.
        look: the class of the colour, ``c1`` … ``c6``.
        mark: one of ``MARKS``.
        points: in the order in which a line joins them.
        line: ``line``, ``dashed`` or empty.
        faint: whether marks are small, as those of epochs.
    """

    name: str
    look: str
    mark: str
    points: tuple[Point, ...]
    line: str = ""
    faint: bool = False


def size_chart(
    series: Sequence[Series],
    scale: Scale,
    *,
    of: str,
    name: str,
    dense: float | None = None,
    asked: float | None = None,
    also: Sequence[float] = (),
) -> str:
    """Return the chart with its legend as HTML; better is up, whichever direction that is.

    Args:
        series: at least one point in all; those of faint series may lie outside of the chart, and are left out then.
        scale: the metric's.
        of: what is smaller, for the axis: ``bytes``.
        name: the text alternative.
        dense: the dense network's metric, a dotted line.
        also: values of the metric that the axis must hold too.
        asked: how many times smaller the target is, an upright line.
    """
    bold = [point for each in series if not each.faint for point in each.points]
    shown = bold or [point for each in series for point in each.points]
    low, high = chart_limits([point.score for point in shown] + ([] if dense is None else [dense]) + list(also), scale)
    sizes = [point.size for each in series for point in each.points if not each.faint] or [1.0]
    left, right = min(0.95, *sizes) / 1.05, max(2.0, *sizes, asked or 1.0) * 1.18
    spread = math.log(right / left)

    def across(size: float) -> float:
        return math.log(size / left) / spread

    def up(score: float) -> float:
        share = (score - low) / (high - low)
        return share if scale.higher_is_better else 1 - share

    def draw(width: int) -> tuple[str, int]:
        narrow = width < 500
        height = 300 if narrow else 340
        area = Area(44, width - 8, 34, height - 48, across, up)
        area.y_axis(round_values(low, high), scale.label)
        ticks = round_factors(max(left, 0.1), right, 5 if narrow else 9)
        area.x_axis(ticks, [factor_text(value) for value in ticks], f"times smaller ({of})")
        if dense is not None:
            area.level(scale.factor * dense, "dotted")
        if asked is not None:
            area.upright(asked, "asked")
            text = f"target {factor_text(asked)}"
            at = area.x(asked)
            ends = at + 6 + shown_width(text) > area.x1
            area.text(at - 6 if ends else at + 6, area.y1 - 8, text, anchor="end" if ends else "start")
        for each in series:
            placed = [(p, p.size, scale.factor * p.score) for p in each.points]
            placed = [one for one in placed if low <= one[2] <= high and left <= one[1] <= right]
            if each.line:
                area.line([(x, y) for _, x, y in placed], f"{each.look} {each.line}")
            for point, x, y in placed:
                area.mark(
                    x,
                    y,
                    each.mark,
                    f"{each.look}{' faint' if each.faint else ''}",
                    point.title,
                    2 if each.faint else 5.5,
                )
        _labels(area, [(p, scale.factor * p.score) for p in bold if p.label])
        return "".join(area.parts), height

    entries = list(dict.fromkeys((each.look, each.mark, each.name) for each in series if each.points))
    return both_widths(name, draw) + (legend(entries) if len(entries) > 1 else "")


def chart_limits(scores: Sequence[float], scale: Scale) -> tuple[float, float]:
    """Return the lowest and the highest value of the chart's axis, as they are shown, with some room around scores."""
    shown = [scale.factor * score for score in scores]
    apart = max(shown) - min(shown)
    room = max(0.35 * apart, 1.0 if scale.unit == PERCENT else 0.05 * max(map(abs, shown)) or 1.0)
    low, high = min(shown) - room, max(shown) + room
    if scale.unit == PERCENT:
        high = min(high, 100 + 0.1 * (high - low))
    return max(low, 0.0) if min(shown) >= 0 else low, high


def _labels(area: Area, points: Sequence[tuple[Point, float]]) -> None:
    """Write labels above or below their marks, inside of the area, where they run into no other label or mark."""
    boxes = [(area.x(point.size), area.y(score) + 4, 6.0) for point, score in points]  # the marks, as lines of text
    for point, score in sorted(points, key=lambda each: each[0].size):
        x, y, half = area.x(point.size), area.y(score), shown_width(point.label) / 2
        x = min(max(x, area.x0 + half + 4), area.x1 - half)
        place = next(
            (
                y + shift
                for shift in (-12, 22, -28, 38)
                if area.y0 + 8 <= y + shift <= area.y1 - 4
                and all(abs(x - bx) > half + bhalf or abs(y + shift - by) > 15 for bx, by, bhalf in boxes)
            ),
            None,
        )
        if place is not None:
            boxes.append((x, place, half))
            area.text(x, place, point.label, anchor="middle", look="name")
