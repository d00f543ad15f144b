"""Targets: the share of a network's weights, multiply-adds, bytes or file that is to be left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch_growl.arguments import check_choice, check_number
from torch_growl.errors import InvalidValueError
from torch_growl.networks.storage import FILE_DTYPES

__all__ = ["MEASURES", "Measure", "Target"]

Measure = Literal["weights", "macs", "bytes", "file_bytes"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target: the most that is to be left of a network after compaction, in one of four measures.

    A number below 1 is a share of the dense network's, a number from 1 an absolute figure.

    Args:
        weights: elements of all parameters.
        macs: multiply-adds of one example.
        bytes: size in memory of all parameters and buffers, indices included.
        file_bytes: size of the compact file that :func:`torch_growl.save` writes, header included; a share is one of
            the dense network's file in its own types. It is counted on the way, and real files correct the count.
        dtype: with ``file_bytes``: the ``dtype`` that the file will be saved with.

    Raises:
        InvalidValueError: not exactly one measure is given, it is not above 0, or ``dtype`` does not go with it.
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
    file_bytes: float | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) != 1:
            names = f"{', '.join(MEASURES[:-1])} and {MEASURES[-1]}"
            raise InvalidValueError(f"Target takes one of {names}, got {sorted(given) or 'none'}")
        check_number(self.of, getattr(self, self.of), above=0, why="a share below 1, or an absolute figure")
        if self.dtype is not None:
            check_choice("dtype", self.dtype, FILE_DTYPES)
            if self.of != "file_bytes":
                raise InvalidValueError(f"Target: dtype is for file_bytes, the file it is saved in; got {self.of}")

    def _given(self) -> list[Measure]:
        return [name for name in MEASURES if getattr(self, name) is not None]

    @property
    def of(self) -> Measure:
        """The measure that is asked for."""
        return self._given()[0]

    @property
    def value(self) -> float:
        """The share or the figure that is asked for."""
        return float(getattr(self, self.of))

    def amount(self, whole: float) -> float:
        """The most that may be left of a network, as an absolute figure.

        Args:
            whole: the dense network's figure.

        Raises:
            InvalidValueError: it is not less than the dense network's.
        """
        asked = self.value * whole if self.value < 1 else self.value
        if asked >= whole:
            raise InvalidValueError(
                f"target: {self.of} must be less than the dense network's {whole:,.0f}, got {asked:,.0f}"
            )
        return asked

    def __repr__(self) -> str:
        dtype = "" if self.dtype is None else f", dtype={self.dtype!r}"
        return f"Target({self.of}={self.value:g}{dtype})"
