"""Makes the inputs of the prox: five kinds of vector with their λ, from the usual to the hardest for pooling.

Magnitudes are made in sorted order, because pooling works on y_k = |v|_(k) − λ_k; every vector but the nearly sorted
one is then put in random order, with random signs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_growl import pld

__all__ = ["KINDS", "Kind"]

Array = NDArray[Any]
_MEDIAN = 0.6744897501960817  # of |N(0, 1)|


@dataclass(frozen=True)
class Kind:
    """One kind of input: ``fresh(rng, n, dtype)`` makes a vector, ``lam(n)`` its λ in float64."""

    says: str
    lam: Callable[[int], Array]
    fresh: Callable[[np.random.Generator, int, type[np.floating[Any]]], Array]


def _normal(rng: np.random.Generator, n: int, dtype: type[np.floating[Any]]) -> Array:
    return rng.standard_normal(n, dtype=dtype)


def _mixed(rng: np.random.Generator, magnitudes: Array, dtype: type[np.floating[Any]]) -> Array:
    """Return the values in random order and with random signs."""
    v = magnitudes.astype(dtype)
    rng.shuffle(v)
    v[rng.random(len(v), dtype=np.float32) < 0.5] *= -1
    return v


def _one_block(rng: np.random.Generator, n: int, dtype: type[np.floating[Any]]) -> Array:
    return _mixed(rng, 4 + rng.random(n), dtype)


def _cascade_magnitudes(n: int) -> Array:
    return 3 - 2 * np.arange(n) / n  # 3 → 1, evenly


def _cascade_y(n: int) -> Array:
    """Return values that fall from 1 to 0.2 in one half, so that nothing pools, and rise in a sawtooth in the other."""
    half = n // 2
    falling = 1 - 0.8 * np.arange(half) / half
    up = np.arange(n - half)
    climbing = 0.2 + 0.8 * up / (n - half) + np.where(up % 2 == 0, 1.6 / n, 0.0)
    return np.concatenate([falling, climbing])


def _cascade_lambda(n: int) -> Array:
    lam: Array = np.minimum.accumulate(np.maximum(_cascade_magnitudes(n) - _cascade_y(n), 0.0))
    return lam


def _cascade(rng: np.random.Generator, n: int, dtype: type[np.floating[Any]]) -> Array:
    return _mixed(rng, _cascade_magnitudes(n) + (0.1 / n) * rng.random(n), dtype)


def _nearly_sorted(rng: np.random.Generator, n: int, dtype: type[np.floating[Any]]) -> Array:
    v = rng.standard_normal(n, dtype=dtype)
    v = v[np.argsort(-np.abs(v))]
    v *= (1 + 0.001 * rng.standard_normal(n)).astype(dtype)
    return v


KINDS = {
    "random": Kind(
        "normal values, λ a linear ramp down to half its height: half of the result is zero",
        lambda n: _MEDIAN / 0.75 * (1 - np.arange(n) / (2 * n)),
        _normal,
    ),
    "pld": Kind(
        "normal values, λ of the library's default shape pld(0.3, 0.85): half of the result is zero",
        lambda n: _MEDIAN / 0.85 * pld(p=0.3, floor=0.85)(n).numpy(),
        _normal,
    ),
    "one-block": Kind(
        "λ falls four times faster than the values do: all are pooled into one positive block",
        lambda n: 4.0 * (1 - np.arange(n) / n),
        _one_block,
    ),
    "cascade": Kind(
        "n/2 values that stay apart, then n/2 each of which is pooled with what is before it: 70 % end up in one "
        "block, by long chains of merges, without a rising run",
        _cascade_lambda,
        _cascade,
    ),
    "nearly sorted": Kind(
        "the random kind in descending order, then changed by 0.1 %: what a row order looks like one step later",
        lambda n: _MEDIAN / 0.75 * (1 - np.arange(n) / (2 * n)),
        _nearly_sorted,
    ),
}
