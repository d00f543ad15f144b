"""The scale of a metric in figures: its name and unit, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PERCENT", "Scale"]

PERCENT = "%"


@dataclass(frozen=True)
class Scale:
    """The name and unit of a measure of how good a network is.

    Attributes:
        name: such as ``accuracy`` or ``perplexity``.
        higher_is_better: False for errors.
        unit: of its values; ``%``: values are shares of 1 and are shown in per cent; empty: plain numbers.
    """

    name: str
    higher_is_better: bool
    unit: str = ""

    @property
    def factor(self) -> float:
        """The factor of values where they are shown: 100 in per cent, otherwise 1."""
        return 100.0 if self.unit == PERCENT else 1.0

    @property
    def title(self) -> str:
        """The name with a capital letter, for headings."""
        return self.name[:1].upper() + self.name[1:]

    @property
    def label(self) -> str:
        """The name with its unit, for the axis of a figure; for errors also that lower is better."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.name}{unit}{'' if self.higher_is_better else ', lower is better'}"
