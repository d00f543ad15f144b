"""The path of a training with a target: what was left of the network on the way, and its scores there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PathPoint"]


@dataclass(frozen=True)
class PathPoint:
    """A moment of a training with a target.

    Attributes:
        step: optimizer steps so far.
        weights, macs, bytes: what is left of the network.
        rows: for every penalised layer the rows that are not zero.
        score: what the validation function gave, if it was called.
        good: whether that was within the accuracy drop.
    """

    step: int
    weights: int
    macs: int
    bytes: int
    rows: Mapping[str, int]
    score: float | None = None
    good: bool | None = None
