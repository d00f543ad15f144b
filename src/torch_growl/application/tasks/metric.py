"""The metric of a task: its name, its unit, whether higher is better, and its values in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch_growl.application.plots import PERCENT, Scale

__all__ = ["ACCURACY", "PERCENT", "Metric", "metric_of", "scores_of"]

_MOST_LOST = 0.01  # as a share: of 1 for metrics in per cent, of the earlier value for others


@dataclass(frozen=True)
class Metric(Scale):
    """The measure of how good a network is, and its values in words."""

    def text(self, value: float | None, digits: int = 2) -> str:
        """Format a value: ``98.31 %``, or about as many significant digits with the unit; None and NaN are ``–``."""
        if value is None or math.isnan(value):
            return "–"
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(value):
            return f"{'−' if value < 0 else ''}∞{unit}"
        return f"{self.factor * value:,.{self._decimals(digits, value)}f}{unit}".replace("-", "−")

    def change(self, before: float, after: float, digits: int = 2) -> str:
        """Format a difference without its unit, always with a sign: ``+0.20``."""
        if not math.isfinite(after - before):
            return "–"
        return f"{self.factor * (after - before):+,.{self._decimals(digits, before, after)}f}".replace("-", "−")

    def points(self, before: float, after: float, digits: int = 2) -> str:
        """Format a difference with its unit, which for per cent is points: ``+0.20 points``."""
        unit = "points" if self.unit == PERCENT else self.unit
        return f"{self.change(before, after, digits)} {unit}".rstrip()

    def lost(self, before: float, after: float) -> float:
        """Return how much worse a value is than one before: above 0 if it is worse, whichever direction is better."""
        return before - after if self.higher_is_better else after - before

    def is_worse(self, before: float, after: float) -> bool:
        """Return whether so much is lost that a run says so: more than a point, or 1 % of the value before."""
        return self.lost(before, after) > _MOST_LOST * (1.0 if self.unit == PERCENT else abs(before))

    def to_dict(self) -> dict[str, Any]:
        """The metric as plain data for ``result.json``."""
        return {"name": self.name, "higher_is_better": self.higher_is_better, "unit": self.unit}

    def _decimals(self, digits: int, *values: float) -> int:
        if self.unit == PERCENT:
            return digits
        largest = max(map(abs, values))
        return digits if not largest else max(0, digits + 1 - math.floor(math.log10(largest)))


ACCURACY = Metric("accuracy", True, PERCENT)


def metric_of(result: Mapping[str, Any]) -> Metric:
    """The metric of a run's ``result.json``; of schema 1 it is the accuracy."""
    found = result.get("metric")
    return Metric(found["name"], found["higher_is_better"], found["unit"]) if found else ACCURACY


def scores_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The metric's value after every stage, of a run's ``result.json``; in schema 1 the field is ``accuracy``."""
    found: dict[str, Any] = result["score"] if "score" in result else result["accuracy"]
    return found
