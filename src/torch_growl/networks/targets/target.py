"""Targets: the share of a network's weights, multiply-adds or bytes that is to be left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch_growl.arguments import check_number
from torch_growl.errors import InvalidValueError
from torch_growl.networks.targets.counting import Left

__all__ = ["Measure", "Target"]

Measure = Literal["weights", "macs", "bytes"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target: the most that is to be left of a network after compaction, in one of three measures.

    A number below 1 is a share of the dense network's, a number from 1 an absolute figure.

    Args:
        weights: elements of all parameters.
        macs: multiply-adds of one example.
        bytes: size in memory of all parameters and buffers, indices included.

    Raises:
        InvalidValueError: not exactly one of them is given, or it is not above 0.
        InvalidTypeError: it is no number.

    Example:
        >>> import torch_growl as tg
        >>> tg.Target(macs=0.5)
        Target(macs=0.5)
        >>> tg.Target(bytes=100_000).of
        'bytes'
    """

    weights: float | None = None
    macs: float | None = None
    bytes: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise InvalidValueError(f"Target takes one of weights, macs and bytes, got {sorted(given) or 'none'}")
        for name, value in given.items():
            check_number(name, value, above=0, why="a share below 1, or an absolute figure")

    @property
    def of(self) -> Measure:
        """The measure that is asked for."""
        return "weights" if self.weights is not None else "macs" if self.macs is not None else "bytes"

    @property
    def value(self) -> float:
        """The share or the figure that is asked for."""
        return float(getattr(self, self.of))

    def amount(self, dense: Left) -> float:
        """The most that may be left of a network, as an absolute figure.

        Raises:
            InvalidValueError: it is not less than the dense network's.
        """
        whole: int = getattr(dense, self.of)
        asked = self.value * whole if self.value < 1 else self.value
        if asked >= whole:
            raise InvalidValueError(
                f"target: {self.of} must be less than the dense network's {whole:,}, got {asked:,.0f}"
            )
        return asked

    def __repr__(self) -> str:
        return f"Target({self.of}={self.value:g})"
