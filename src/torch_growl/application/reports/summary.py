"""Summary of a run for the command and the report: a headline, and a table of dense and compact network.

It is made from ``result.json`` as a dict; only ratios are computed. Figures that became worse are named as such.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["Comparison", "comparisons", "count", "headline", "percent", "summary_table", "times"]

_SAME_COUNT, _SAME_TIME = 0.005, 0.05  # relative differences that do not count as smaller or faster


@dataclass(frozen=True)
class Comparison:
    """One line of the table of dense and compact network.

    Attributes:
        label: name of the figure.
        dense: its value for the dense network, as text.
        compact: its value for the compact network, as text.
        change: the ratio, or the difference of accuracies in points, with a word such as faster or slower.
        worse: whether the compact network is worse.
    """

    label: str
    dense: str
    compact: str
    change: str
    worse: bool


def times(ratio: float | None) -> str:
    """Format a ratio as ``18.2x``, with two decimals if it is within 0.1 of 1 or below 0.1; None is ``–``."""
    if ratio is None or not math.isfinite(ratio):
        return "–"
    if ratio >= 1000:
        return f"{ratio:,.0f}x"
    return f"{ratio:.2f}x" if abs(ratio - 1) < 0.1 or ratio < 0.1 else f"{ratio:.1f}x"


def percent(share: float | None, digits: int = 2) -> str:
    """Format a share in [0, 1] as ``98.31 %``; None is ``–``."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def count(number: float | None) -> str:
    """Format a count as ``12,345``; None is ``–``."""
    return "–" if number is None else f"{number:,.0f}"


def headline(result: dict[str, Any]) -> str:
    """Summarise a run in one sentence: memory, MACs, latency and accuracy, whether better or worse.

    Args:
        result: a run's ``result.json``, schema 1.
    """
    size, macs, latency = result["bytes"], result["macs"], result["latency_ms"]
    parts = [
        _phrase(_ratio(size["dense"], size["compact"]), "smaller in memory", "larger in memory", _SAME_COUNT),
        _phrase(_ratio(macs["dense"], macs["compact"]), "fewer MACs", "more MACs", _SAME_COUNT),
    ]
    for batch in sorted(_batches(result), key=int, reverse=True):
        ratio = _ratio(latency["dense"].get(batch), latency["compact"].get(batch))
        parts.append(_phrase(ratio, f"faster at batch {batch}", f"slower at batch {batch}", _SAME_TIME))
    accuracy = result["accuracy"]
    before, after = (percent(accuracy.get(stage), 1) for stage in ("dense", "compact"))
    parts.append("accuracy not measured" if before == after == "–" else f"accuracy {before} → {after}")
    return f"{result['model']} network: {', '.join(part for part in parts if part)}"


def comparisons(result: dict[str, Any]) -> list[Comparison]:
    """Compare dense and compact network: weights, distinct weights, bytes, MACs, milliseconds, file, accuracy.

    Args:
        result: a run's ``result.json``, schema 1; lines without any value are left out.
    """
    measured = result.get("measure") or {}
    distinct = {name: measured.get(name, {}).get("distinct_weights") for name in ("dense", "compact")}
    lines = [
        _counted("weights", result["parameters"], "fewer", "more"),
        _counted("distinct weights", distinct, "fewer", "more"),
        _counted("bytes in memory", result["bytes"], "smaller", "larger"),
        _counted("bytes in file", result.get("file_bytes") or {}, "smaller", "larger"),
        _counted("MACs", result["macs"], "fewer", "more"),
    ]
    for batch in sorted(_batches(result), key=int):
        dense, compact = (result["latency_ms"][name].get(batch) for name in ("dense", "compact"))
        before, after = ("–" if value is None else f"{value:,.3f}" for value in (dense, compact))
        ratio = _ratio(dense, compact)
        change = _change(ratio, "faster", "slower", _SAME_TIME)
        slower = ratio is not None and ratio < 1 - _SAME_TIME
        lines.append(Comparison(f"ms at batch {batch}", before, after, change, slower))
    dense, compact = (result["accuracy"].get(stage) for stage in ("dense", "compact"))
    change, worse = "–", False
    if dense is not None and compact is not None:
        change, worse = f"{100 * (compact - dense):+.2f} points".replace("-", "−"), compact < dense
    lines.append(Comparison("test accuracy", percent(dense), percent(compact), change, worse))
    return [line for line in lines if (line.dense, line.compact) != ("–", "–")]


def summary_table(result: dict[str, Any]) -> Table:
    """Make the table of dense and compact network for a terminal; figures that became worse are yellow.

    Args:
        result: a run's ``result.json``, schema 1.
    """
    table = Table(title=Text(f"{result['recipe']}: dense and compact"), title_justify="left")
    table.add_column("")
    for title in ("dense", "compact", "change"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in comparisons(result):
        change = Text(line.change, style="yellow" if line.worse else "")
        table.add_row(Text(line.label), Text(line.dense), Text(line.compact), change)
    return table


def _batches(result: dict[str, Any]) -> set[str]:
    return {*result["latency_ms"]["dense"], *result["latency_ms"]["compact"]}


def _counted(label: str, values: dict[str, Any], better: str, worse: str) -> Comparison:
    dense, compact = values.get("dense"), values.get("compact")
    ratio = _ratio(dense, compact)
    change = _change(ratio, better, worse, _SAME_COUNT)
    return Comparison(label, count(dense), count(compact), change, ratio is not None and ratio < 1 - _SAME_COUNT)


def _ratio(dense: float | None, compact: float | None) -> float | None:
    """Dense over compact, above 1 if the compact network is better; None if a value is missing or not > 0."""
    return None if dense is None or compact is None or compact <= 0 or dense <= 0 else dense / compact


def _phrase(ratio: float | None, better: str, worse: str, same: float) -> str:
    """Part of the headline: ``4.3x faster``, ``no faster (1.00x)``, ``slower: 0.8x``."""
    if ratio is None:
        return ""
    if ratio > 1 + same:
        return f"{times(ratio)} {better}"
    return f"{worse}: {times(ratio)}" if ratio < 1 - same else f"no {better} ({times(ratio)})"


def _change(ratio: float | None, better: str, worse: str, same: float) -> str:
    """A cell of the table: ``4.3x faster``, ``1.00x, no faster``, ``0.8x, slower``."""
    if ratio is None:
        return "–"
    if ratio > 1 + same:
        return f"{times(ratio)} {better}"
    return f"{times(ratio)}, {worse if ratio < 1 - same else f'no {better}'}"
