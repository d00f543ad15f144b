"""The chart of a training: the metric above, what is left of rows and of the target's measure below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch_growl.application.pages.svg import Area, both_widths, legend, shown_width
from torch_growl.application.pages.ticks import round_values
from torch_growl.application.plots import Scale

__all__ = ["Track", "timeline"]


@dataclass(frozen=True)
class Track:
    """A line of the chart: one value for every epoch of all stages, None where there is none.

    Attributes:
        name: for the legend.
        look: the class of the colour.
        values: the metric, or the share that is left, in [0, 1].
        dashed: whether the line is dashed, so that it can be told apart without its colour.
    """

    name: str
    look: str
    values: tuple[float | None, ...]
    dashed: bool = False


def timeline(
    stages: Sequence[str],
    metric: Sequence[Track],
    left: Sequence[Track],
    scale: Scale,
    *,
    limits: tuple[float, float],
    name: str,
) -> str:
    """Return the chart with its legend as HTML.

    Args:
        stages: the stage of every epoch, in order; at least one.
        metric: tracks of the metric.
        left: tracks of what is left, in shares; none: the lower panel is left out.
        scale: the metric's.
        limits: lowest and highest value of the metric that are drawn.
        name: the text alternative.
    """
    n = len(stages)
    starts = [i for i in range(n) if i == 0 or stages[i] != stages[i - 1]]

    def across(epoch: float) -> float:
        return (epoch - 0.5) / n

    low, high = (scale.factor * limit for limit in limits)

    def draw(width: int) -> tuple[str, int]:
        narrow = width < 500
        upper = Area(44, width - 8, 56, 210 if narrow else 260, across, lambda value: (value - low) / (high - low))
        upper.y_axis(round_values(low, high, 5), scale.label)
        _headings(upper, stages, starts)
        for track in metric:
            _draw(upper, track, scale.factor, low, high)
        areas = [upper]
        if left:
            lower = Area(upper.x0, upper.x1, upper.y1 + 44, upper.y1 + 164, across, lambda value: value / 104)
            lower.y_axis([0, 25, 50, 75, 100], "left (%)")
            for track in left:
                _draw(lower, track, 100, 0, 100)
            areas.append(lower)
        for area in areas:
            for start in starts[1:]:
                area.upright(start + 0.5, "stage")
        ticks = [value for value in round_values(1, n, 5 if narrow else 9) if value == int(value)]
        areas[-1].x_axis(ticks, [f"{value:.0f}" for value in ticks], "epoch, all stages in order")
        return "".join(part for area in areas for part in area.parts), int(areas[-1].y1) + 48

    entries = [(track.look, "dashed" if track.dashed else "line", track.name) for track in (*metric, *left)]
    return both_widths(name, draw) + legend(entries)


def _headings(area: Area, stages: Sequence[str], starts: Sequence[int]) -> None:
    """Write the name of every stage above its part, higher up or not at all if it would run into the one before."""
    free = {30: area.x0, 44: area.x0}
    for first, end in pairwise([*starts, len(stages)]):
        half = 1.15 * shown_width(stages[first]) / 2  # its letters are bold
        at = min(area.x((first + end + 1) / 2), area.x1 - half)
        above = next((above for above, begins in free.items() if at - half >= begins - 1), None)
        if above is not None:
            area.text(at, area.y0 - above, stages[first], anchor="middle", look="ink")
            free[above] = at + half + 6


def _draw(area: Area, track: Track, factor: float, low: float, high: float) -> None:
    """Draw the parts of a track that have values, held inside of the area."""
    part: list[tuple[float, float]] = []
    look = f"{track.look}{' dashed' if track.dashed else ''}"
    for epoch, value in enumerate((*track.values, None), start=1):
        if value is not None:
            part.append((epoch, min(max(factor * value, low), high)))
        elif part:
            area.line(part, look)
            part = []
