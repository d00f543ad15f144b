"""Formats Markdown tables and short numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["markdown", "short", "spread"]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with its numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(value: float) -> str:
    """Format a number with three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: Sequence[float], digits: int = 2, factor: float = 1.0) -> str:
    """Format mean ± standard deviation, or a single value alone."""
    scaled = np.asarray(values) * factor
    if len(scaled) == 1:
        return f"{scaled[0]:.{digits}f}"
    return f"{scaled.mean():.{digits}f} ± {scaled.std(ddof=1):.{digits}f}"
