"""Parts of the page about layers: the table of weights and MACs, and the groups that a reader looks through."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch_growl.application.reports.run_files import ReportInput, Result

__all__ = ["REST", "CostLine", "cost_lines", "groups_data", "short"]

_MOST_ROWS = 40_000  # of all layers together in the map of groups
REST = "the rest"


@dataclass(frozen=True)
class CostLine:
    """A line of the table of weights and MACs.

    Attributes:
        name: the layer.
        remark: its type, or what the line stands for.
        weights: before and after.
        macs: before and after.
    """

    name: str
    remark: str
    weights: tuple[float, float]
    macs: tuple[float, float]

    def shares(self, most: tuple[float, float]) -> list[tuple[float, float]]:
        """Per cent of the widest bars: for weights and MACs, before and after."""
        pairs = zip((self.weights, self.macs), most, strict=True)
        return [(100 * before / max(top, 1), 100 * after / max(top, 1)) for (before, after), top in pairs]


def cost_lines(facts: Result) -> list[CostLine]:
    """Compare weights and MACs layer by layer; the last lines are all that is in no layer, and the whole network.

    Args:
        facts: a run's result; without ``layer_costs``, as in older runs, there are no lines.
    """
    found = [
        CostLine(each.name, each.type, (each.weights.dense, each.weights.compact), (each.macs.dense, each.macs.compact))
        for each in facts.layer_costs
    ]
    whole = [(pair.dense or 0, pair.compact or 0) for pair in (facts.parameters, facts.macs)]
    if not found:
        return []
    rest = [
        tuple(max(0, total - sum(getattr(line, of)[side] for line in found)) for side, total in enumerate(totals))
        for of, totals in zip(("weights", "macs"), whole, strict=True)
    ]
    if any(rest[0]) or any(rest[1]):
        what = "in no layer: norms, attention, sums of tied inputs"
        found.append(CostLine(REST, what, rest[0], rest[1]))
    return [*found, CostLine("whole network", "", whole[0], whole[1])]


def short(number: float) -> str:
    """Format a count with three digits: ``19,500``, ``1.54M``, ``2.31G``."""
    for power, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= power:
            return f"{number / power:.3g}{letter}" if number < 999.5 * power else f"{number / power:,.0f}{letter}"
    return f"{number:,.0f}"


def groups_data(given: ReportInput) -> tuple[str | None, list[str]]:
    """Collect the groups of the layers' rows for the page's script.

    Returns:
        JSON that may stand inside of a ``<script>`` element, None if there is nothing to show; and sentences on what is
        left out.
    """
    types = {cost.name: cost.type for cost in given.facts.layer_costs}
    layers: list[dict[str, Any]] = []
    left_out: list[str] = []
    shown = 0
    for number, layer in enumerate(given.tying):
        rows = len(layer.labels)
        if not rows:
            continue
        if shown + rows > _MOST_ROWS:
            left_out.append(layer.name)
            continue
        shown += rows
        shape = given.facts.dataset.pixel_shape if number == 0 and layer.side == "input" else None
        pixels = shape is not None and rows % (shape[0] * shape[1]) == 0
        height, width = shape if shape is not None and pixels else _near_square(rows)
        channels = layer.side == "input" and types.get(layer.name, "").startswith("Conv")
        layers.append(
            {
                "name": layer.name,
                "what": "pixel" if pixels else "channel" if channels else "row",
                "height": height,
                "width": width,
                "labels": _renumbered(layer.labels),
            }
        )
    missing = [f"The map of groups leaves out {', '.join(left_out)}: too many rows for a page."] if left_out else []
    if not layers:
        return None, missing
    text = json.dumps({"layers": layers}, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"), missing


def _near_square(rows: int) -> tuple[int, int]:
    width = min(32, max(1, math.ceil(math.sqrt(rows))))
    return math.ceil(rows / width), width


def _renumbered(labels: Sequence[int]) -> list[int]:
    """Number groups of two rows or more from 1, the largest first; 0: a row alone, −1: a pruned row."""
    sizes: dict[int, int] = {}
    for label in labels:
        sizes[label] = sizes.get(label, 0) + 1
    ranked = sorted((label for label, size in sizes.items() if label >= 0 and size > 1), key=lambda one: -sizes[one])
    numbers = {label: number for number, label in enumerate(ranked, start=1)}
    return [-1 if label < 0 else numbers.get(label, 0) for label in labels]
