"""Ratios of a dense and a compact figure in words: the one wording for the command, the report and the comparisons."""

from __future__ import annotations

import math

__all__ = ["SAME_TIME", "in_words", "times"]

SAME_COUNT, SAME_TIME = 0.005, 0.03  # relative differences that are not called smaller or faster


def times(ratio: float) -> str:
    """Format a ratio ≥ 1 as ``18.2x``, below 1.1 with two decimals, from 1,000 on without any."""
    return f"{ratio:,.0f}x" if ratio >= 1000 else f"{ratio:.2f}x" if ratio < 1.1 else f"{ratio:.1f}x"


def in_words(
    ratio: float | None, better: str, worse: str, *, same: float = SAME_COUNT, equal: str = "about the same"
) -> str:
    """Say which of two figures is smaller, and how many times: never as a ratio below 1.

    Args:
        ratio: the dense figure over the compact one; above 1 the compact one is better. None: not known.
        better, worse: the words that follow the ratio, such as ``"smaller"`` and ``"larger"``.
        same: the relative difference up to which the words are ``equal``.
        equal: the words for figures that differ by no more.

    Returns:
        Such as ``"18.2x smaller"``, ``"1.02x larger"`` or ``"about the same"``; ``"–"`` if there is no ratio.
    """
    if ratio is None or not math.isfinite(ratio) or ratio <= 0:
        return "–"
    if max(ratio, 1 / ratio) <= 1 + same:
        return equal
    return f"{times(ratio)} {better}" if ratio > 1 else f"{times(1 / ratio)} {worse}"
