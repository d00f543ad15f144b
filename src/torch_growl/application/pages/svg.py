"""Parts of SVG charts: a plot area with axes, lines, marks and texts, in the colours of the page.

A chart is drawn twice, for wide pages and for phones, and CSS shows one of the two, so that letters keep their size.
Classes name colours: ``c1`` … ``c6`` of series, ``ink``, ``soft``; the page's style sheet has them for light and dark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from torch_growl.application.pages.ticks import value_text

__all__ = ["LOOKS", "MARKS", "WIDTHS", "Area", "both_widths", "legend", "shown_width"]

WIDTHS = {"wide": 860, "narrow": 328}
LOOKS = ("c1", "c2", "c3", "c4", "c5", "c6")
MARKS = ("circle", "square", "diamond", "triangle", "cross", "plus")
_LETTER = 6.6  # width of a letter of 12 px, with some room


def shown_width(text: str) -> float:
    """Estimate the width of a text in pixels."""
    return _LETTER * len(text)


def both_widths(name: str, draw: Callable[[int], tuple[str, int]]) -> str:
    """Return a chart in both widths.

    Args:
        name: the text alternative.
        draw: returns the content and the height for a width in pixels.
    """
    parts = []
    for form, width in WIDTHS.items():
        content, height = draw(width)
        parts.append(
            f'<svg class="chart {form}" role="img" aria-label="{escape(name)}" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}">{content}</svg>'
        )
    return "".join(parts)


def legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """Return a legend in HTML.

    Args:
        entries: for each its class, its mark (one of ``MARKS``, ``line`` or ``dashed``) and its text.
    """
    items = []
    for look, mark, text in entries:
        if mark in ("line", "dashed"):
            dashes = " dashed" if mark == "dashed" else ""
            sample = f'<path class="line {look}{dashes}" d="M1 7H23"/>'
        else:
            sample = _mark(mark, look, 12, 7)
        items.append(f'<li><svg aria-hidden="true" width="24" height="14">{sample}</svg>{escape(text)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


@dataclass
class Area:
    """A plot area: ``x0`` … ``x1`` from left to right and ``y0`` (top) … ``y1`` (bottom), in pixels.

    Attributes:
        across: the position of a value of x, from 0 (left) to 1.
        up: the position of a value of y, from 0 (bottom) to 1.
    """

    x0: float
    x1: float
    y0: float
    y1: float
    across: Callable[[float], float]
    up: Callable[[float], float]
    parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Convert a value of x to pixels."""
        return self.x0 + self.across(value) * (self.x1 - self.x0)

    def y(self, value: float) -> float:
        """Convert a value of y to pixels."""
        return self.y1 - self.up(value) * (self.y1 - self.y0)

    def y_axis(self, values: Sequence[float], label: str) -> None:
        """Draw lines across at some values, their texts on the left, and the label above."""
        step = min((b - a for a, b in pairwise(values)), default=1.0)
        for value in values:
            at = self.y(value)
            self.parts.append(f'<path class="grid" d="M{self.x0:.1f} {at:.1f}H{self.x1:.1f}"/>')
            self.text(self.x0 - 6, at + 4, value_text(value, step), anchor="end")
        self.text(0, self.y0 - 12, label, look="name")

    def x_axis(self, values: Sequence[float], texts: Sequence[str], label: str) -> None:
        """Draw the axis at the bottom with ticks, leaving out texts that would overlap, and the label below."""
        self.parts.append(f'<path class="axis" d="M{self.x0:.1f} {self.y1:.1f}H{self.x1:.1f}"/>')
        free = float("-inf")
        for value, text in zip(values, texts, strict=True):
            at, half = self.x(value), shown_width(text) / 2
            self.parts.append(f'<path class="axis" d="M{at:.1f} {self.y1:.1f}v4"/>')
            if at - half >= free:
                self.text(at, self.y1 + 18, text, anchor="middle")
                free = at + half
        self.text((self.x0 + self.x1) / 2, self.y1 + 38, label, anchor="middle", look="name")

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", look: str = "soft") -> None:
        """Write a text at a place in pixels."""
        self.parts.append(f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, points: Sequence[tuple[float, float]], look: str) -> None:
        """Draw a line through values (x, y), in their order; a single one is a small mark."""
        placed = [(self.x(x), self.y(y)) for x, y in points]
        if len(placed) > 1:
            steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
            self.parts.append(f'<path class="line {look}" d="M{steps}"/>')
        elif placed:
            self.parts.append(_mark("circle", look, *placed[0], size=3))

    def mark(self, x: float, y: float, mark: str, look: str, title: str, size: float = 5.0) -> None:
        """Draw a mark at a value (x, y), with a title that appears under the pointer."""
        self.parts.append(_mark(mark, look, self.x(x), self.y(y), title, size))

    def upright(self, x: float, look: str) -> None:
        """Draw a line from bottom to top at a value of x."""
        self.parts.append(f'<path class="{look}" d="M{self.x(x):.1f} {self.y0:.1f}V{self.y1:.1f}"/>')

    def level(self, y: float, look: str) -> None:
        """Draw a line from left to right at a value of y."""
        self.parts.append(f'<path class="{look}" d="M{self.x0:.1f} {self.y(y):.1f}H{self.x1:.1f}"/>')


def _mark(mark: str, look: str, x: float, y: float, title: str = "", size: float = 5.0) -> str:
    r, d = f"{size:.1f}", f"{2 * size:.1f}"
    path = {
        "circle": f"m-{r} 0a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0z",
        "square": f"m-{r} -{r}h{d}v{d}h-{d}z",
        "diamond": f"m0 -{d}l{r} {d}l-{r} {d}l-{r} -{d}z",
        "triangle": f"m0 -{r}l{r} {d}h-{d}z",
        "cross": f"m-{r} -{r}l{d} {d}m0 -{d}l-{d} {d}",
        "plus": f"m-{r} 0h{d}m-{r} -{r}v{d}",
    }[mark]
    shown = f"<title>{escape(title)}</title>" if title else ""
    return f'<path class="mark {look}" d="M{x:.1f} {y:.1f}{path}">{shown}</path>'
