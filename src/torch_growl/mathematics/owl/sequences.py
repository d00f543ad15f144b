"""The sequences λ (lasso, OSCAR, PLD, SLOPE, group SLOPE) as small immutable values, and the check of any λ.

A sequence called with a number of rows returns λ_1 ≥ λ_2 ≥ … ≥ λ_n ≥ 0, the weights of the sorted-ℓ1 norm
``Ω_λ(v) = Σ_i λ_i |v|_(i)``; λ_1 weighs the largest row. The level of λ makes rows zero, its fall makes neighbouring
norms equal. *Relative* sequences have λ_1 = 1 and are scaled by one strength; *absolute* ones have the literature's
values.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor

from torch_growl.arguments import check_count, check_floating, check_number, did_you_mean
from torch_growl.errors import InvalidTypeError, InvalidValueError

__all__ = ["LambdaSequence", "check_lambda", "group_slope", "lasso", "oscar", "pld", "sequence_from_dict", "slope"]


class LambdaSequence(ABC):
    """A sequence λ: called with a number of rows, it returns one weight per row, non-increasing and non-negative."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, n: int, *, row_length: int | None = None) -> Tensor:
        """Return λ for n rows.

        Args:
            n: number of rows, ≥ 0.
            row_length: weights in a row, ≥ 1; only group SLOPE needs it.

        Returns:
            ``(n,)`` float64, non-increasing, ≥ 0.

        Raises:
            InvalidTypeError, InvalidValueError: ``n`` or ``row_length`` is not an integer in its range.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return plain data such as ``{"name": "pld", "p": 0.5, "floor": 0.3}``; see :func:`sequence_from_dict`."""
        return {"name": self.name, **self._parameters()}

    def _parameters(self) -> dict[str, float]:
        given = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in given.items() if value is not None}

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value:g}' for name, value in self._parameters().items())})"


@final
@dataclass(frozen=True, repr=False)
class _Lasso(LambdaSequence):
    name = "lasso"

    def __call__(self, n: int, *, row_length: int | None = None) -> Tensor:
        return torch.ones(check_count("n", n, least=0), dtype=torch.float64)


@final
@dataclass(frozen=True, repr=False)
class _Oscar(LambdaSequence):
    name = "oscar"
    floor: float | None
    lambda1: float | None
    lambda2: float | None

    def __call__(self, n: int, *, row_length: int | None = None) -> Tensor:
        steps = torch.arange(check_count("n", n, least=0), dtype=torch.float64)  # i − 1
        if self.floor is None:
            return cast(float, self.lambda1) + cast(float, self.lambda2) * (n - 1 - steps)
        return _ramp(steps, max(n - 1, 1), self.floor)


@final
@dataclass(frozen=True, repr=False)
class _Pld(LambdaSequence):
    name = "pld"
    p: float
    floor: float | None
    lambda1: float | None
    lambda2: float | None

    def __call__(self, n: int, *, row_length: int | None = None) -> Tensor:
        steps = torch.arange(check_count("n", n, least=0), dtype=torch.float64)  # i − 1
        P = math.floor(self.p * n + 1e-9)  # 0.29 · 100 is 28.999999999999996
        if self.floor is None:
            return cast(float, self.lambda1) + cast(float, self.lambda2) * (P - steps).clamp_min(0.0)
        return _ramp(steps, max(P, 1), self.floor)


@final
@dataclass(frozen=True, repr=False)
class _Slope(LambdaSequence):
    name = "slope"
    q: float

    def __call__(self, n: int, *, row_length: int | None = None) -> Tensor:
        from scipy.special import ndtri

        i = torch.arange(1, check_count("n", n, least=0) + 1, dtype=torch.float64)
        return torch.from_numpy(-ndtri((i * self.q / (2 * max(n, 1))).numpy())).clamp_min(0.0)  # Φ⁻¹(1 − t) = −Φ⁻¹(t)


@final
@dataclass(frozen=True, repr=False)
class _GroupSlope(LambdaSequence):
    name = "group_slope"
    q: float

    def __call__(self, n: int, *, row_length: int | None = None) -> Tensor:
        from scipy.special import gammainccinv

        if row_length is None:
            raise InvalidValueError("group_slope needs row_length (weights in a row): call it with row_length=d")
        d = check_count("row_length", row_length)
        i = torch.arange(1, check_count("n", n, least=0) + 1, dtype=torch.float64)
        squares = 2 * gammainccinv(d / 2, (i * self.q / max(n, 1)).numpy())  # χ_d: F(x) = 1 − Q(d/2, x²/2)
        return torch.from_numpy(squares).clamp_min(0.0).sqrt()


def lasso() -> LambdaSequence:
    """Return the constant sequence, λ_i = 1: group lasso, which makes rows zero and ties none.

    Example:
        >>> import torch_growl as tg
        >>> tg.lasso()(3)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    return _Lasso()


def oscar(floor: float | None = None, *, lambda1: float | None = None, lambda2: float | None = None) -> LambdaSequence:
    """Return the OSCAR sequence (Bondell and Reich 2008), which falls linearly over all rows.

    Relative: ``λ_i = floor + (1 − floor)(n − i)/(n − 1)``, from 1 down to ``floor``; λ = (1,) for one row.
    Absolute: ``λ_i = lambda1 + lambda2 (n − i)``, when both are given.

    Args:
        floor: the last value, 0..1; default 0.3.
        lambda1: absolute form: the last value, ≥ 0.
        lambda2: absolute form: the fall from row to row, ≥ 0.

    Raises:
        InvalidValueError: a parameter is outside its range, or the two forms are mixed.

    Example:
        >>> import torch_growl as tg
        >>> tg.oscar(floor=0.5)(5).tolist()
        [1.0, 0.875, 0.75, 0.625, 0.5]
        >>> tg.oscar(lambda1=2, lambda2=0.5)(4).tolist()
        [3.5, 3.0, 2.5, 2.0]
    """
    return _Oscar(*_form("oscar", floor, lambda1, lambda2))


def pld(
    p: float = 0.5, floor: float | None = None, *, lambda1: float | None = None, lambda2: float | None = None
) -> LambdaSequence:
    """Return PLD, the GrOWL paper's sequence (ICLR 2018, section 3), which falls linearly over the first ⌊p·n⌋ rows.

    Relative, with P = max(⌊p·n⌋, 1): ``λ_i = floor + (1 − floor)(P − i + 1)/P`` for i ≤ P, else ``floor``; λ_1 = 1.
    Absolute, the paper's, when ``lambda1`` and ``lambda2`` are given, with P = ⌊p·n⌋:
    ``λ_i = lambda1 + lambda2 (P − i + 1)`` for i ≤ P, else ``lambda1``.

    Args:
        p: the part of the rows over which λ falls, in (0, 1].
        floor: the value from there on, 0..1; default 0.3.
        lambda1: absolute form: the value from there on, ≥ 0; it makes rows zero.
        lambda2: absolute form: the fall from row to row, ≥ 0; it makes rows tie.

    Raises:
        InvalidValueError: a parameter is outside its range, or the two forms are mixed.

    Example:
        >>> import torch_growl as tg
        >>> tg.pld(p=0.5, floor=0.5)(4).tolist()
        [1.0, 0.75, 0.5, 0.5]
        >>> tg.pld(p=0.5, lambda1=12, lambda2=0.25)(4).tolist()
        [12.5, 12.25, 12.0, 12.0]
    """
    p = check_number("pld: p", p, above=0, most=1)
    return _Pld(p, *_form("pld", floor, lambda1, lambda2))


def slope(q: float = 0.1) -> LambdaSequence:
    """Return SLOPE's Benjamini–Hochberg sequence, ``λ_i = Φ⁻¹(1 − iq/2n)`` (Bogdan et al. 2015, eq. 1.8), unscaled.

    Args:
        q: the target false discovery rate if a strength of 1 is the noise level, in (0, 1).

    Raises:
        InvalidValueError: ``q`` is not in (0, 1).

    Example:
        >>> import torch_growl as tg
        >>> tg.slope(q=0.1)(4)
        tensor([2.2414, 1.9600, 1.7805, 1.6449], dtype=torch.float64)
    """
    return _Slope(check_number("slope: q", q, above=0, below=1))


def group_slope(q: float = 0.1) -> LambdaSequence:
    """Return group SLOPE's sequence, ``λ_i = F⁻¹(1 − iq/n)``, F the distribution of χ_d (Brzyski et al. 2019).

    d is the row length. The values are unscaled quantiles, near √d, as in the literature for groups of one size.

    Args:
        q: the target group false discovery rate if a strength of 1 is the noise level, in (0, 1).

    Raises:
        InvalidValueError: ``q`` is not in (0, 1); when called, ``row_length`` is missing.

    Example:
        >>> import torch_growl as tg
        >>> tg.group_slope(q=0.1)(3, row_length=4)
        tensor([3.2344, 2.9642, 2.7892], dtype=torch.float64)
    """
    return _GroupSlope(check_number("group_slope: q", q, above=0, below=1))


_MAKERS: dict[str, Callable[..., LambdaSequence]] = {
    "lasso": lasso,
    "oscar": oscar,
    "pld": pld,
    "slope": slope,
    "group_slope": group_slope,
}


def sequence_from_dict(data: Mapping[str, Any]) -> LambdaSequence:
    """Return the sequence that :meth:`LambdaSequence.to_dict` wrote; a field that is missing or None has its default.

    Raises:
        InvalidTypeError: ``data`` is not a mapping, or a field is not a number.
        InvalidValueError: the name or a field is unknown, or a parameter is outside its range.
    """
    if not isinstance(data, Mapping):
        raise InvalidTypeError(f"a sequence must be a mapping such as {{'name': 'pld'}}, got {type(data).__name__}")
    name = data.get("name")
    if not isinstance(name, str) or name not in _MAKERS:
        raise InvalidValueError(f"unknown sequence {name!r}; {did_you_mean(str(name), _MAKERS)}")
    given = {field: value for field, value in data.items() if field != "name" and value is not None}
    known = signature(_MAKERS[name]).parameters
    unknown = ", ".join(str(field) for field in given if field not in known)
    if unknown:
        raise InvalidValueError(f"sequence {name!r} has no field {unknown}; it has {', '.join(known) or 'no fields'}")
    return _MAKERS[name](**given)


def check_lambda(lam: Tensor, n: int) -> Tensor:
    """Check an explicit λ: 1-D, one value for each of n rows, finite, non-negative, non-increasing.

    Args:
        lam: ``(n,)``, any real floating type; not modified.
        n: the number of values that λ must have.

    Returns:
        λ as float64 on its device; the same tensor if it is float64 already.

    Raises:
        InvalidTypeError: it is not a dense floating-point tensor.
        InvalidValueError: a condition is violated; the message names the first index (from 0).
    """
    check_floating("λ", lam)
    if lam.ndim != 1 or len(lam) != n:
        raise InvalidValueError(f"λ must be 1-D with one value for each of {n} rows, got shape {tuple(lam.shape)}")
    lam = lam.to(torch.float64)
    values = lam.detach()
    rises = torch.diff(values, prepend=values[:1]) > 0
    faults = {"finite": ~torch.isfinite(values), "non-negative": values < 0, "non-increasing (largest first)": rises}
    for words, wrong in faults.items():
        for i in wrong.nonzero().flatten().tolist()[:1]:
            after = f" after λ[{i - 1}] = {float(values[i - 1]):g}" if words.startswith("non-inc") else ""
            raise InvalidValueError(f"λ must be {words}; λ[{i}] = {float(values[i]):g}{after}")
    return lam


def _ramp(steps: Tensor, length: int, floor: float) -> Tensor:
    """Return values that fall from exactly 1 to ``floor`` in ``length`` equal steps and stay constant after that."""
    return (1 - (1 - floor) * (steps / length)).clamp_min(floor).where(steps < length, floor)


def _form(name: str, floor: Any, lambda1: Any, lambda2: Any) -> tuple[float | None, float | None, float | None]:
    """Return the checked ``floor, lambda1, lambda2`` of a relative or an absolute form; those of the other are None."""
    if lambda1 is None and lambda2 is None:
        return check_number(f"{name}: floor", 0.3 if floor is None else floor, least=0, most=1), None, None
    if floor is not None:
        raise InvalidValueError(f"{name}: floor (relative) and lambda1, lambda2 (absolute) exclude one another")
    for field, value in (("lambda1", lambda1), ("lambda2", lambda2)):
        if value is None:
            raise InvalidValueError(f"{name}: {field} is missing; the absolute form needs both lambda1 and lambda2")
        check_number(f"{name}: {field}", value, least=0)
    return None, float(lambda1), float(lambda2)
