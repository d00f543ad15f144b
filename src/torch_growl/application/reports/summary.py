"""Summary of a run for the command and the report: a headline, and a table of dense and compact network.

It is made from ``result.json`` as a dict; only ratios are computed. Figures that became worse are named as such.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from torch_growl.application.tasks import metric_of, scores_of
from torch_growl.networks.measurement import SAME_TIME, in_words

__all__ = ["Comparison", "comparisons", "count", "headline", "percent", "summary_table"]


@dataclass(frozen=True)
class Comparison:
    """One line of the table of dense and compact network.

    Attributes:
        label: name of the figure.
        dense: its value for the dense network, as text.
        compact: its value for the compact network, as text.
        change: the ratio, or the difference of the metric (accuracy: in points), with a word such as faster or slower.
        worse: whether the compact network is worse.
    """

    label: str
    dense: str
    compact: str
    change: str
    worse: bool


def percent(share: float | None, digits: int = 2) -> str:
    """Format a share in [0, 1] as ``98.31 %``; None is ``–``."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def count(number: float | None) -> str:
    """Format a count as ``12,345``; None is ``–``."""
    return "–" if number is None else f"{number:,.0f}"


def headline(result: dict[str, Any]) -> str:
    """Summarise a run in one sentence: memory, MACs, latency and metric, whether better or worse.

    Args:
        result: a run's ``result.json``.
    """
    size, where = result.get("bytes_held"), " in memory"
    if not size:  # a run of an earlier version
        size, where = result["bytes"], " with packed indices"
    macs, latency = result["macs"], result["latency_ms"]
    parts = [
        _phrase(_ratio(size["dense"], size["compact"]), "smaller", "larger", where),
        _phrase(_ratio(macs["dense"], macs["compact"]), "fewer", "more", " MACs"),
    ]
    for batch in sorted(_batches(result), key=int, reverse=True):
        ratio = _ratio(latency["dense"].get(batch), latency["compact"].get(batch))
        parts.append(_phrase(ratio, "faster", "slower", f" at batch {batch}", same=SAME_TIME))
    metric, score = metric_of(result), scores_of(result)
    before, after = (metric.text(score.get(stage), 1) for stage in ("dense", "compact"))
    parts.append(f"{metric.name} " + ("not measured" if before == after == "–" else f"{before} → {after}"))
    network = result["model"] if ":" in result["model"] else f"{result['model']} network"
    return f"{network}: {', '.join(part for part in parts if part)}"


def comparisons(result: dict[str, Any]) -> list[Comparison]:
    """Compare dense and compact network: weights, distinct weights, bytes, MACs, milliseconds, file, metric.

    Args:
        result: a run's ``result.json``; lines without any value are left out.
    """
    measured = result.get("measure") or {}
    distinct = {name: measured.get(name, {}).get("distinct_weights") for name in ("dense", "compact")}
    lines = [
        _counted("weights", result["parameters"], "fewer", "more"),
        _counted("distinct weights", distinct, "fewer", "more"),
        _counted("bytes in memory", result.get("bytes_held") or {}, "smaller", "larger"),
        _counted("bytes, indices packed", result["bytes"], "smaller", "larger"),
        _counted("bytes in file", result.get("file_bytes") or {}, "smaller", "larger"),
        _counted("MACs", result["macs"], "fewer", "more"),
    ]
    for batch in sorted(_batches(result), key=int):
        dense, compact = (result["latency_ms"][name].get(batch) for name in ("dense", "compact"))
        before, after = ("–" if value is None else f"{value:,.3f}" for value in (dense, compact))
        ratio = _ratio(dense, compact)
        change = in_words(ratio, "faster", "slower", same=SAME_TIME)
        lines.append(Comparison(f"ms at batch {batch}", before, after, change, change.endswith("slower")))
    metric = metric_of(result)
    dense, compact = (scores_of(result).get(stage) for stage in ("dense", "compact"))
    change, worse = "–", False
    if dense is not None and compact is not None:
        change, worse = metric.points(dense, compact), metric.lost(dense, compact) > 0
    lines.append(Comparison(f"test {metric.name}", metric.text(dense), metric.text(compact), change, worse))
    return [line for line in lines if (line.dense, line.compact) != ("–", "–")]


def summary_table(result: dict[str, Any]) -> Table:
    """Make the table of dense and compact network for a terminal; figures that became worse are yellow.

    Args:
        result: a run's ``result.json``.
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
    change = in_words(ratio, better, worse)
    return Comparison(label, count(dense), count(compact), change, change.endswith(worse))


def _ratio(dense: float | None, compact: float | None) -> float | None:
    """Dense over compact, above 1 if the compact network is better; None if a value is missing or not > 0."""
    return None if dense is None or compact is None or compact <= 0 or dense <= 0 else dense / compact


def _phrase(ratio: float | None, better: str, worse: str, where: str, **same: float) -> str:
    """Part of the headline: ``4.3x faster at batch 1``, ``no faster at batch 1``, ``1.3x slower at batch 1``."""
    return "" if ratio is None else in_words(ratio, better, worse, equal=f"no {better}", **same) + where
