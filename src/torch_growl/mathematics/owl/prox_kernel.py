"""The compiled kernel of the sorted-ℓ1 prox: sort, pool adjacent violators, clip, unsort; for many vectors in one pass.

Used by :mod:`torch_growl.mathematics.owl.operators`, which checks the arguments and imports this module on the first
prox, because numba takes a moment to load. In the order of descending |v|, ``x = prox_λ(v)`` is the non-increasing
isotonic regression of ``y_k = |v|_(k) − λ_k``, clipped at 0 (Bogdan et al. 2015, section 2).

Sums are float64. Values not larger than the smallest λ become zero in every case (every y_k from there on is ≤ 0, and
nothing ≤ 0 is pooled with a positive block), so they are not sorted.

Vectors are concatenated in one array; vector s is ``v[offsets[s]:offsets[s + 1]]``.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numpy.typing import NDArray

from torch_growl.mathematics.compiled.address import float32_at, float64_at
from torch_growl.mathematics.compiled.compilation import jit
from torch_growl.mathematics.owl._sorting import descending32, descending64

__all__ = ["LAMBDA", "NOT_FINITE", "OK", "prox_blocks", "prox_vector", "prox_vectors", "solve_with_order", "workspace"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
AnyFloats = NDArray[Any]  # float32 or float64

OK, LAMBDA, NOT_FINITE = 0, 1, 2

_PLACE = (1 << 31) - 1
_LARGE = 2.0**950  # beyond this, sums are taken of values scaled by 2^−64, so that they cannot overflow
_DOWN, _UP = 2.0**-64, 2.0**64
_NONE32 = np.empty(0, np.int32)
_NOTHING = np.empty((5, 0), np.int64)
_SHORT = 2048  # vectors up to this length get their scratch memory from the heap, which is fast for small blocks
_KEPT = 1 << 21  # a workspace for vectors up to this length, 40 bytes a value, is kept


class _Workspace(threading.local):
    """Scratch memory of each thread; fresh pages at every call would take as long as the sorting."""

    space: Ints = np.empty((5, 0), np.int64)

    def of(self, longest: int) -> Ints:
        """Return scratch memory of shape ``(5, more than longest)``."""
        if self.space.shape[1] > longest:
            return self.space
        space = np.empty((5, max(1024, longest + longest // 4 + 1)), np.int64)
        if longest <= _KEPT:
            self.space = space
        return space


workspace = _Workspace()


def prox_vector(v: int, lam: int, out: int, n: int, wide: bool, lam_wide: bool) -> int:
    """Write the prox of one vector into ``out``, if the vector and λ are valid.

    Args:
        v, lam, out: addresses of n values each; ``out`` may be ``v``.
        n: 0 ≤ n < 2³¹.
        wide: whether ``v`` and ``out`` are float64, else float32.
        lam_wide: whether ``lam`` is float64, else float32.

    Returns:
        OK; LAMBDA if λ is not finite, non-negative and non-increasing; NOT_FINITE if a value is NaN or infinite. Only
        OK means that something was written.
    """
    vector = _vector64 if wide else _vector32
    return int(vector(v, lam, out, n, lam_wide, _NOTHING if n <= _SHORT else workspace.of(n)))


def prox_vectors(v: AnyFloats, lam: AnyFloats, offsets: Ints, out: AnyFloats, before: Ints32 = _NONE32) -> int:
    """Write the prox of many vectors into ``out``, if all of them are valid; returns as :func:`prox_vector` does.

    Args:
        v, lam, out: ``(n,)`` contiguous, the vectors concatenated; v and out of one type.
        offsets: ``(n_vectors + 1,)`` int64, from 0 to n.
        before: ``(n,)`` int32, for float64: for each vector, the sorted order that an earlier call for a similar vector
            wrote here (at first 0, 1, …); it is tried first and updated. Or empty.
    """
    space = workspace.of(len(v))
    if v.dtype == np.float32:
        return int(_vectors32(v, lam, offsets, out, space))
    return int(_vectors64(v, lam, offsets, out, before, space))


def prox_blocks(v: Floats, lam: Floats, offsets: Ints) -> tuple[Floats, Ints, Ints]:
    """Return the prox of many valid float64 vectors, with the sorted order and the blocks that it was pooled in.

    Returns:
        The prox ``(n,)``; the order ``(n,)``: the index in ``v`` of the value at place k after sorting each vector by
        descending magnitude; the block ``(n,)`` of the value at place k, numbered 0, 1, …, −1 where the prox is 0.
    """
    x, order, block = np.empty_like(v), np.empty(len(v), np.int64), np.empty(len(v), np.int64)
    _blocks(v, lam, offsets, x, order, block, workspace.of(len(v)))
    return x, order, block


@jit
def _fault(v: AnyFloats, lam: AnyFloats, lo: int, hi: int) -> int:
    if lo == hi:
        return OK
    falls = lam[hi - 1] >= 0.0 and lam[lo] < np.inf
    for k in range(lo + 1, hi):
        falls &= lam[k] <= lam[k - 1]
    if not falls:
        return LAMBDA
    finite = True
    for i in range(lo, hi):
        finite &= abs(v[i]) < np.inf
    return OK if finite else NOT_FINITE


@jit
def _pool(y: Floats, m: int, starts: Ints, sums: Floats, means: Floats, down: float, up: float) -> int:
    """Compute the non-increasing isotonic regression of ``y[:m]``; returns the number of blocks.

    Block b begins at ``starts[b]`` and has the mean ``means[b]``. A run in which y does not fall is one block under any
    rounding, so equal rows stay equal; a run of equal values that is pooled with nothing keeps exactly that value, so a
    constant λ is soft thresholding bit for bit. ``sums`` may be ``y`` itself, which is then overwritten.
    """
    k = -1  # the last block on the stack
    i = 0
    while i < m:
        first = y[i]
        last = first
        total = first * down
        j = i + 1
        while j < m and y[j] >= last:
            last = y[j]
            total += last * down
            j += 1
        mean = first if last == first else total / (j - i) * up
        k += 1
        start = i
        while k > 0 and means[k - 1] < mean:
            k -= 1
            start = starts[k]
            total += sums[k]
            mean = total / (j - start) * up
        starts[k] = start
        sums[k] = total
        means[k] = mean
        i = j
    return k + 1


@jit
def _solve(
    words: Ints,
    y: Floats,
    m: int,
    v: AnyFloats,
    lam: AnyFloats,
    lo: int,
    hi: int,
    out: AnyFloats,
    starts: Ints,
    sums: Floats,
    means: Floats,
) -> int:
    """Pool, clip and unsort the sorted values; returns the number of blocks, with ``starts[blocks]`` = m."""
    for k in range(m, hi - lo):
        place = lo + ((words[k] >> 1) & _PLACE)
        out[place] = v[place] if v[place] == 0.0 else 0.0
    if m == 0:
        return 0
    large = max(y[0], lam[lo]) > _LARGE
    for k in range(m):
        y[k] -= lam[lo + k]
    down, up = (_DOWN, _UP) if large else (1.0, 1.0)
    blocks = _pool(y, m, starts, sums, means, down, up)
    starts[blocks] = m
    b = 0
    for k in range(m):  # not block by block: most are short, and a branch at each end would be mispredicted
        b += k == starts[b + 1]
        word = words[k]
        out[lo + ((word >> 1) & _PLACE)] = max(means[b], 0.0) * (1 - 2 * (word & 1)) + 0.0  # never −0
    return blocks


@jit
def _vector32(v: int, lam: int, out: int, n: int, lam_wide: bool, space: Ints) -> int:
    values, result = carray(float32_at(v), n), carray(float32_at(out), n)
    space = np.empty((5, n + 1), np.int64) if space.size == 0 else space
    if lam_wide:
        return _one32(values, carray(float64_at(lam), n), result, space)
    return _one32(values, carray(float32_at(lam), n), result, space)


@jit
def _vector64(v: int, lam: int, out: int, n: int, lam_wide: bool, space: Ints) -> int:
    values, result = carray(float64_at(v), n), carray(float64_at(out), n)
    space = np.empty((5, n + 1), np.int64) if space.size == 0 else space
    if lam_wide:
        return _one64(values, carray(float64_at(lam), n), result, space)
    return _one64(values, carray(float32_at(lam), n), result, space)


@jit
def _one32(v: AnyFloats, lam: AnyFloats, out: AnyFloats, space: Ints) -> int:
    fault = _fault(v, lam, 0, len(v))
    if fault == OK and len(v) > 0:
        words, spare, y, means = space[0], space[1], space[2].view(np.float64), space[3].view(np.float64)
        m = descending32(v, 0, len(v), lam[-1], words, spare, y)
        _solve(words, y, m, v, lam, 0, len(v), out, spare, y, means)
    return fault


@jit
def _one64(v: AnyFloats, lam: AnyFloats, out: AnyFloats, space: Ints) -> int:
    fault = _fault(v, lam, 0, len(v))
    if fault == OK:
        solve_with_order(v, lam, out, np.empty(0, np.int32), space)
    return fault


@jit
def _vectors32(v: AnyFloats, lam: AnyFloats, offsets: Ints, out: AnyFloats, space: Ints) -> int:
    words, spare, y, means = space[0], space[1], space[2].view(np.float64), space[3].view(np.float64)
    for s in range(len(offsets) - 1):
        fault = _fault(v, lam, offsets[s], offsets[s + 1])
        if fault != OK:
            return fault
    for s in range(len(offsets) - 1):
        lo, hi = offsets[s], offsets[s + 1]
        if lo < hi:
            m = descending32(v, lo, hi, lam[hi - 1], words, spare, y)
            _solve(words, y, m, v, lam, lo, hi, out, spare, y, means)
    return OK


@jit
def solve_with_order(v: Floats, lam: AnyFloats, out: Floats, before: Ints32, space: Ints) -> None:
    """Write the prox of one valid float64 vector into ``out``; ``before`` as for :func:`prox_vectors`."""
    if len(v) == 0:
        return
    words, spare, y, means = space[0], space[1], space[2].view(np.float64), space[3].view(np.float64)
    m = descending64(v, 0, len(v), lam[-1], words, spare, y, before)
    for k in range(len(before)):
        before[k] = (words[k] >> 1) & _PLACE
    _solve(words, y, m, v, lam, 0, len(v), out, spare, y, means)


@jit
def _vectors64(v: AnyFloats, lam: AnyFloats, offsets: Ints, out: AnyFloats, before: Ints32, space: Ints) -> int:
    for s in range(len(offsets) - 1):
        fault = _fault(v, lam, offsets[s], offsets[s + 1])
        if fault != OK:
            return fault
    for s in range(len(offsets) - 1):
        lo, hi = offsets[s], offsets[s + 1]
        mine = before[lo:hi] if len(before) > 0 else before
        solve_with_order(v[lo:hi], lam[lo:hi], out[lo:hi], mine, space)
    return OK


@jit
def _blocks(v: Floats, lam: Floats, offsets: Ints, out: Floats, order: Ints, block: Ints, space: Ints) -> None:
    words, spare, y, means = space[0], space[1], space[2].view(np.float64), space[3].view(np.float64)
    sums = np.empty(space.shape[1], np.float64)
    number = 0
    for s in range(len(offsets) - 1):
        lo, hi = offsets[s], offsets[s + 1]
        if lo == hi:
            continue
        m = descending64(v, lo, hi, lam[hi - 1], words, spare, y, np.empty(0, np.int32))
        blocks = _solve(words, y, m, v, lam, lo, hi, out, spare, sums, means)
        for k in range(hi - lo):
            order[lo + k] = lo + ((words[k] >> 1) & _PLACE)
            block[lo + k] = -1
        for b in range(blocks):
            first, last, mean = spare[b], spare[b + 1], means[b]
            if not mean > 0.0:
                break
            # equal values that were pooled with nothing move independently: each is its own block
            alone = y[first] == mean and y[last - 1] == mean
            for k in range(first, last):
                block[lo + k] = number
                number += alone
            number += not alone
