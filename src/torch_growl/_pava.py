"""The compiled kernel of the sorted-ℓ1 prox: sort, pool adjacent violators, clip, unsort; for many vectors in one pass.

It stands under :mod:`torch_growl.owl`, which checks what it is given, and is imported only when a prox is first asked
for, since numba takes a moment to load. Written from the definition: ``x = prox_λ(v)`` is, in the order of descending
|v|, the non-increasing isotonic regression of ``y_k = |v|_(k) − λ_k``, clipped at 0 (Bogdan et al. 2015, section 2).

Everything is float64. Vectors lie one behind another in one array; vector s is ``v[offsets[s]:offsets[s + 1]]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["lambda_fault", "non_finite", "prox", "prox_segments"]

F = TypeVar("F", bound=Callable[..., Any])
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ABS = 0x7FFFFFFFFFFFFFFF  # every bit of a float64 but the sign
_INSERTION = 48  # below this length, insertion sort is fastest
_DIGIT = 8  # bits of a radix digit for short vectors,
_WIDE_DIGIT = 11  # and for long ones, where fewer passes pay for more counters
_WIDE_FROM = 4096
_LARGE = 2.0**950  # beyond this, sums are taken of values scaled by 2^−64, so that they cannot overflow
_DOWN, _UP = 2.0**-64, 2.0**64


def _jit(function: F) -> F:
    """Compile on first call, kept on disk between processes where some cache folder can be written."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(F, njit(cache=True, **options)(function))
    except RuntimeError:  # numba: "no locator available": nowhere to write
        return cast(F, njit(**options)(function))


def prox(v: Floats, lam: Floats, offsets: Ints, *, want_blocks: bool = False) -> tuple[Floats, Ints, Ints]:
    """Allocate for :func:`prox_segments` and call it: the prox, the order, the blocks (empty if not wanted)."""
    n = len(v)
    x, order = np.empty(n, np.float64), np.empty(n, np.int64)
    block = np.empty(n if want_blocks else 0, np.int64)
    prox_segments(v, lam, offsets, x, order, block)
    return x, order, block


@_jit
def non_finite(v: Floats) -> int:
    """How many entries are NaN or infinite."""
    count = 0
    for i in range(len(v)):
        if not np.isfinite(v[i]):
            count += 1
    return count


@_jit
def lambda_fault(lam: Floats, offsets: Ints) -> int:
    """The first vector whose λ is negative, increasing or not finite; −1 when all are in order."""
    for s in range(len(offsets) - 1):
        before = np.inf
        for k in range(offsets[s], offsets[s + 1]):
            if not (0.0 <= lam[k] <= before and lam[k] < np.inf):
                return s
            before = lam[k]
    return -1


@_jit
def _insertion(keys: Ints, order: Ints, lo: int, hi: int) -> None:
    for i in range(lo + 1, hi):
        key, index = keys[i], order[i]
        j = i - 1
        while j >= lo and keys[j] > key:
            keys[j + 1] = keys[j]
            order[j + 1] = order[j]
            j -= 1
        keys[j + 1] = key
        order[j + 1] = index


@_jit
def _radix(keys: Ints, order: Ints, spare_keys: Ints, spare_order: Ints, count: Ints, lo: int, hi: int) -> None:
    """Stable ascending sort of ``keys[lo:hi]``, looking only at the bits in which they differ."""
    differ = np.int64(0)
    for i in range(lo, hi):
        differ |= keys[i] ^ keys[lo]
    shift = 0
    while differ != 0 and (differ >> shift) & 1 == 0:
        shift += 1
    digit = _WIDE_DIGIT if hi - lo >= _WIDE_FROM else _DIGIT
    mask = (1 << digit) - 1
    a, a_order, b, b_order = keys, order, spare_keys, spare_order
    passes = 0
    while shift < 63 and differ >> shift != 0:
        count[: mask + 1] = 0
        for i in range(lo, hi):
            count[(a[i] >> shift) & mask] += 1
        position = lo
        for d in range(mask + 1):
            here = count[d]
            count[d] = position
            position += here
        for i in range(lo, hi):
            d = (a[i] >> shift) & mask
            b[count[d]] = a[i]
            b_order[count[d]] = a_order[i]
            count[d] += 1
        a, a_order, b, b_order = b, b_order, a, a_order
        shift += digit
        passes += 1
    if passes % 2 == 1:
        keys[lo:hi] = spare_keys[lo:hi]
        order[lo:hi] = spare_order[lo:hi]


@_jit
def _pool(y: Floats, starts: Ints, sums: Floats, means: Floats, lo: int, hi: int, down: float, up: float) -> int:
    """Non-increasing isotonic regression of ``y[lo:hi]``; returns the number of blocks.

    Block b begins at ``starts[lo + b]`` and has the mean ``means[lo + b]``. A run in which y does not fall is one block
    whatever the rounding, so equal rows stay equal; a run of equal values that nothing is pooled with keeps exactly
    that value, so a constant λ is soft thresholding bit for bit.
    """
    k = lo - 1  # the last block on the stack
    i = lo
    while i < hi:
        j = i + 1
        total = y[i] * down
        while j < hi and y[j] >= y[j - 1]:
            total += y[j] * down
            j += 1
        mean = y[i] if y[j - 1] == y[i] else total / (j - i) * up
        k += 1
        starts[k] = i
        sums[k] = total
        means[k] = mean
        while k > lo and means[k - 1] < means[k]:
            k -= 1
            sums[k] += sums[k + 1]
            means[k] = sums[k] / (j - starts[k]) * up
        i = j
    return k - lo + 1


@_jit
def prox_segments(v: Floats, lam: Floats, offsets: Ints, out: Floats, order: Ints, block: Ints) -> None:
    """Write ``prox_λ(v)`` of every vector into ``out``.

    Args:
        v, lam: ``(n,)`` float64, finite; every vector's λ non-negative and non-increasing.
        offsets: ``(n_vectors + 1,)`` int64, from 0 to n.
        out: ``(n,)`` float64, written.
        order: ``(n,)`` int64, written: ``order[k]`` is the index in ``v`` of what stands at k after sorting each
            vector by descending magnitude, equal ones in the order they came.
        block: ``(n,)`` int64, written (or empty, left alone): the block of what stands at k after sorting, numbered
            0, 1, …; −1 where the prox is 0.
    """
    n = len(v)
    longest, largest = 0, 0.0
    for s in range(len(offsets) - 1):
        longest = max(longest, offsets[s + 1] - offsets[s])
    keys = np.empty(n, np.int64)
    bits = v.view(np.int64)
    for i in range(n):
        keys[i] = _ABS ^ (bits[i] & _ABS)  # ascending keys: descending magnitude
        order[i] = i
        largest = max(largest, abs(v[i]), lam[i])
    down, up = (_DOWN, _UP) if largest > _LARGE else (1.0, 1.0)
    spare_keys, spare_order = np.empty(n, np.int64), np.empty(n, np.int64)
    count = np.empty(1 << (_WIDE_DIGIT if longest >= _WIDE_FROM else _DIGIT), np.int64)
    for s in range(len(offsets) - 1):
        lo, hi = offsets[s], offsets[s + 1]
        if hi - lo < _INSERTION:
            _insertion(keys, order, lo, hi)
        else:
            _radix(keys, order, spare_keys, spare_order, count, lo, hi)
    for k in range(n):
        keys[k] ^= _ABS
    y = keys.view(np.float64)  # |v| sorted
    for k in range(n):
        y[k] -= lam[k]
    starts, sums, means = spare_keys, spare_order.view(np.float64), np.empty(n, np.float64)
    number = 0
    for s in range(len(offsets) - 1):
        lo, hi = offsets[s], offsets[s + 1]
        blocks = _pool(y, starts, sums, means, lo, hi, down, up)
        for b in range(lo, lo + blocks):
            first, last = starts[b], (starts[b + 1] if b + 1 < lo + blocks else hi)
            mean = means[b]
            for k in range(first, last):
                i = order[k]
                if mean > 0.0 and v[i] != 0.0:
                    out[i] = mean if v[i] > 0.0 else -mean
                else:
                    out[i] = v[i] if v[i] == 0.0 else 0.0
            if len(block) > 0:
                # equal values that nothing was pooled with move independently: each is a block of its own
                alone = y[first] == mean and y[last - 1] == mean
                for k in range(first, last):
                    block[k] = number if mean > 0.0 else -1
                    if mean > 0.0 and alone:
                        number += 1
                if mean > 0.0 and not alone:
                    number += 1
