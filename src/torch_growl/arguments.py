"""Checks of arguments. Each has one wording: which argument, what must hold, what was found.

Every check returns the value that it was given, or raises a :class:`~torch_growl.errors.GrowlError`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from torch_growl.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "check_choice",
    "check_count",
    "check_finite",
    "check_floating",
    "check_number",
    "check_rows",
    "check_type",
    "did_you_mean",
]

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
    """Check that a value is a finite number within its bounds.

    Args:
        name: the argument, as the user knows it.
        value: what was given; an int or a float, not a bool.
        least, above: the lower bound, included or not; at most one of them.
        most, below: the upper bound, included or not; at most one of them.
        unit: the number's unit, for the message.
        why: the reason for the bounds, for the message.

    Returns:
        The value as a float.

    Raises:
        InvalidTypeError: the value is not a number.
        InvalidValueError: the value is NaN, infinite or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{name} must be a number, got {type(value).__name__}")
    fits = (
        _is_finite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not fits:
        wanted = f"{_bounds(least, above, most, below)}{' ' if unit else ''}{unit}"
        raise InvalidValueError(f"{name} must be {wanted}, got {value}{': ' if why else ''}{why}")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer above the largest float
        return False


def _bounds(least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    low = f"> {above:g}" if above is not None else f"≥ {least:g}" if least is not None else ""
    high = f"< {below:g}" if below is not None else f"≤ {most:g}" if most is not None else ""
    if low and high:
        opening = f"({above:g}" if above is not None else f"[{least:g}"
        closing = f"{below:g})" if below is not None else f"{most:g}]"
        return f"in {opening}, {closing}"
    return f"finite and {low or high}" if low or high else "finite"


def check_count(name: str, value: Any, *, least: int = 1, most: int | None = None, unit: str = "") -> int:
    """Check that a value is an integer within its bounds.

    Args:
        name: the argument, as the user knows it.
        value: what was given; an int, not a bool.
        least, most: the bounds, both included.
        unit: what is counted, for the message.

    Raises:
        InvalidTypeError: the value is not an integer.
        InvalidValueError: the value is out of bounds.
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
        InvalidValueError: the value is none of them.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        *first, last = map(repr, known)
        listed = f"{', '.join(first)} or {last}" if first else last
        raise InvalidValueError(f"{name} must be {listed}, got {value!r}")
    return value


def check_type(name: str, value: Any, kind: type[T]) -> T:
    """Check that a value is an instance of a class.

    Raises:
        InvalidTypeError: it is not an instance; the message names the class as users import it.
    """
    if not isinstance(value, kind):
        wanted = _NAMES.get(kind.__name__, kind.__name__)
        article = "an" if wanted[0] in "AEIOaeiou" else "a"
        raise InvalidTypeError(f"{name} must be {article} {wanted}, got {type(value).__name__}")
    return value


_NAMES = {"Module": "torch.nn.Module", "Optimizer": "torch.optim.Optimizer", "Tensor": "torch.Tensor"}


def check_floating(name: str, value: Any) -> Tensor:
    """Check that a value is a dense tensor of a type that the mathematics can compute with.

    Raises:
        InvalidTypeError: the value is not a dense float16, bfloat16, float32 or float64 tensor.
    """
    import torch

    v = check_type(name, value, torch.Tensor)
    if v.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64) or v.layout != torch.strided:
        wanted = "dense float16, bfloat16, float32 or float64 tensor"
        raise InvalidTypeError(f"{name} must be a {wanted}, got {v.dtype}, {v.layout}")
    return v


def check_rows(name: str, value: Any) -> Tensor:
    """Check that a value is a tensor with rows along dim 0: a dense floating-point one of two dimensions or more.

    Raises:
        InvalidTypeError: the value is not a dense floating-point tensor.
        InvalidValueError: it has fewer than two dimensions.
    """
    W = check_floating(name, value)
    if W.ndim < 2:
        raise InvalidValueError(
            f"{name} must have rows along dim 0, so two dimensions or more; got shape {tuple(W.shape)}"
        )
    return W


def check_finite(name: str, tensor: Tensor) -> Tensor:
    """Check that all values of a tensor are finite; on a device, this waits for the device.

    Raises:
        InvalidValueError: some are NaN or infinite; the message counts them.
    """
    finite = tensor.detach().isfinite()
    if not bool(finite.all()):
        raise InvalidValueError(
            f"{name} must be finite; {int((~finite).sum())} of its {tensor.numel()} values are NaN or infinite "
            "(has the training diverged? try a lower learning rate or strength)"
        )
    return tensor


def did_you_mean(given: str, known: Iterable[str], *, otherwise: str = "there are {known}") -> str:
    """Give the end of a message about an unknown name: the closest known name, or all of them.

    Args:
        given: the unknown name.
        known: the known names.
        otherwise: the words used when no name is close; ``{known}`` stands for the list.
    """
    names = list(known)
    close = difflib.get_close_matches(given, names, n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise.format(known=", ".join(names) or "none")
