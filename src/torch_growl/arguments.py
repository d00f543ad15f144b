"""Checks of arguments, each with one wording: what must hold, what was found, which argument.

Every check returns the value it was given, in its type, or raises a :class:`~torch_growl.errors.GrowlError`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any, TypeVar

from torch_growl.errors import InvalidTypeError, InvalidValueError

__all__ = ["check_choice", "check_count", "check_number", "check_type", "did_you_mean"]

T = TypeVar("T")


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    unit: str = "",
    why: str = "",
) -> float:
    """Check a finite number.

    Args:
        name: the argument, as the user knows it.
        value: what was given; an int or a float, no bool.
        least, above: the lower bound, included or not; at most one of them.
        most, below: the upper bound, included or not; at most one of them.
        unit: of the number, for the message.
        why: the reason for the bounds, for the message.

    Raises:
        InvalidTypeError: it is no number.
        InvalidValueError: it is NaN, infinite or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{name} must be a number, got {type(value).__name__}")
    fits = (
        math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not fits:
        wanted = f"{_bounds(least, above, most, below)}{' ' if unit else ''}{unit}"
        raise InvalidValueError(f"{name} must be {wanted}, got {value}{': ' if why else ''}{why}")
    return float(value)


def _bounds(least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    low = f"> {above:g}" if above is not None else f"≥ {least:g}" if least is not None else ""
    high = f"< {below:g}" if below is not None else f"≤ {most:g}" if most is not None else ""
    if low and high:
        opening = f"({above:g}" if above is not None else f"[{least:g}"
        closing = f"{below:g})" if below is not None else f"{most:g}]"
        return f"in {opening}, {closing}"
    return f"finite and {low or high}" if low or high else "finite"


def check_count(name: str, value: Any, *, least: int = 1, most: int | None = None, unit: str = "") -> int:
    """Check an integer that counts something.

    Args:
        name: the argument, as the user knows it.
        value: what was given; no bool.
        least, most: bounds, both included.
        unit: what is counted, for the message.

    Raises:
        InvalidTypeError: it is no integer.
        InvalidValueError: it is out of bounds.
    """
    bounds = f"≥ {least}" if most is None else f"in [{least}, {most}]"
    wanted = f"{name} must be an integer {bounds}{' ' if unit else ''}{unit}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{wanted}, got {value!r}")
    if value < least or (most is not None and value > most):
        raise InvalidValueError(f"{wanted}, got {value}")
    return value


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Check that a value is one of a few strings.

    Raises:
        InvalidValueError: it is none of them.
    """
    known = list(choices)
    if value not in known:
        *first, last = map(repr, known)
        listed = f"{', '.join(first)} or {last}" if first else last
        raise InvalidValueError(f"{name} must be {listed}, got {value!r}")
    return str(value)


def check_type(name: str, value: Any, kind: type[T]) -> T:
    """Check that a value is an instance of a class.

    Raises:
        InvalidTypeError: it is not; the message names the class as users import it.
    """
    if not isinstance(value, kind):
        wanted = _NAMES.get(kind.__name__, kind.__name__)
        article = "an" if wanted[0] in "AEIOaeiou" else "a"
        raise InvalidTypeError(f"{name} must be {article} {wanted}, got {type(value).__name__}")
    return value


_NAMES = {"Module": "torch.nn.Module", "Optimizer": "torch.optim.Optimizer", "Tensor": "torch.Tensor"}


def did_you_mean(given: str, known: Iterable[str], *, otherwise: str = "there are {known}") -> str:
    """The end of a message about an unknown name: the closest known one, or all of them.

    Args:
        given: the unknown name.
        known: the names there are.
        otherwise: the words where none is close; ``{known}`` stands for the list.
    """
    names = list(known)
    close = difflib.get_close_matches(given, names, n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise.format(known=", ".join(names) or "none")
