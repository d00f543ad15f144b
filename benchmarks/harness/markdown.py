"""Markdown tables and short numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["markdown", "short", "spread"]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: Sequence[float], digits: int = 2, factor: float = 1.0) -> str:
    """Mean ± standard deviation; a single value as it is."""
    scaled = np.asarray(values) * factor
    if len(scaled) == 1:
        return f"{scaled[0]:.{digits}f}"
    return f"{scaled.mean():.{digits}f} ± {scaled.std(ddof=1):.{digits}f}"
