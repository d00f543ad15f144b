"""Row norms and row scaling of many weights in a few compiled calls that read and write the weights in place.

A proximal step reads the weights once for the norms, and reads and writes them once for the scaling: no copy is made,
and scratch memory does not grow with the weights. Weights are described by a table of parts, eight integers each:

    address, 1 for float64 or 0 for float32, groups, outer, rows, inner, first row, place of its sums

for dense memory of shape ``(groups, outer, rows, inner)``: a row is ``w[g, :, r, :]``, number ``first row + g * rows +
r`` of all. The inputs of a Linear layer are ``(1, out, in, 1)``, of a convolution ``(groups, out / groups, in / groups,
taps)``, neurons and filters ``(1, 1, out, row length)``. A large weight is several parts, for several threads; the cuts
do not depend on the number of threads, so neither does any sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numpy.typing import NDArray

from torch_growl.mathematics.compiled.address import float32_at, float64_at
from torch_growl.mathematics.compiled.compilation import jit, jit_summing

__all__ = ["COLUMNS", "combine", "rescale_", "squares"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Weights = NDArray[Any]  # float32 or float64

COLUMNS = 8  # of the table
_STRIP = 16384  # columns summed at a time: their sums stay in cache, and memory is still read in long runs


@jit
def squares(parts: Ints, sums: Floats) -> None:
    """Compute the sum of squares of every row in every part, in float64.

    Args:
        parts: ``(n_parts, 8)``, see the module; every address must be that of live memory.
        sums: written, from each part's place on, ``groups · rows`` values.
    """
    strip = np.empty(_STRIP, np.float64)
    for p in range(len(parts)):
        address, wide, groups, outer, rows, inner, _, at = parts[p]
        mine = sums[at : at + groups * rows]
        if wide:
            _squares(carray(float64_at(address), (groups, outer, rows * inner)), inner, mine, strip)
        else:
            _squares(carray(float32_at(address), (groups, outer, rows * inner)), inner, mine, strip)


@jit
def combine(parts: Ints, sums: Floats, norms: Floats) -> None:
    """Compute the ℓ2 norm of every row from the sums of :func:`squares`, added in the order of the parts.

    Args:
        norms: ``(n_rows,)``, written where a part has rows, 0 elsewhere.
    """
    norms[:] = 0.0
    for p in range(len(parts)):
        first, at = parts[p, 6], parts[p, 7]
        for r in range(parts[p, 2] * parts[p, 4]):
            norms[first + r] += sums[at + r]
    for r in range(len(norms)):
        norms[r] = np.sqrt(norms[r])


@jit
def _squares(w: Weights, inner: int, found: Floats, strip: Floats) -> None:
    groups, outer, columns = w.shape
    if outer == 1:
        _along(w.reshape(groups * columns // inner, inner), found)
        return
    rows = columns // inner
    found[:] = 0.0
    for g in range(groups):
        for start in range(0, columns, _STRIP):
            stop = min(start + _STRIP, columns)
            _down(w[g], start, stop, strip)
            for j in range(start, stop):
                found[g * rows + j // inner] += strip[j - start]


@jit_summing
def _square(x: float) -> float:
    wide = np.float64(x)
    return float(wide * wide)


@jit_summing
def _along(w: Weights, squares: Floats) -> None:
    """Sum the squares along each row of a matrix."""
    for r in range(len(w)):
        total = 0.0
        for j in range(w.shape[1]):
            total += _square(w[r, j])
        squares[r] = total


@jit_summing
def _down(w: Weights, start: int, stop: int, sums: Floats) -> None:
    """Sum the squares down the columns start to stop of a matrix; eight rows at a time, to access ``sums`` rarely."""
    sums = sums[: stop - start]
    sums[:] = 0.0
    eights = len(w) // 8 * 8
    for i in range(0, eights, 8):
        # slices, not offsets: an index that could be negative would prevent vector instructions
        a, b, c, d = w[i][start:stop], w[i + 1][start:stop], w[i + 2][start:stop], w[i + 3][start:stop]
        e, f, g, h = w[i + 4][start:stop], w[i + 5][start:stop], w[i + 6][start:stop], w[i + 7][start:stop]
        for j in range(len(sums)):
            upper = (_square(a[j]) + _square(b[j])) + (_square(c[j]) + _square(d[j]))
            sums[j] += upper + ((_square(e[j]) + _square(f[j])) + (_square(g[j]) + _square(h[j])))
    for i in range(eights, len(w)):
        a = w[i][start:stop]
        for j in range(len(sums)):
            sums[j] += _square(a[j])


@jit
def rescale_(parts: Ints, scale: Floats) -> None:
    """Multiply every row by its scale, in place; a scale of 0 gives exact zeros.

    Args:
        parts: as for :func:`squares`.
        scale: ``(n_rows,)``; rounded to the weight's type.
    """
    widest = 1
    for p in range(len(parts)):
        widest = max(widest, parts[p, 4] * parts[p, 5] if parts[p, 3] > 1 else 1)
    spread32, spread64 = np.empty(widest, np.float32), np.empty(widest, np.float64)
    for p in range(len(parts)):
        address, wide, groups, outer, rows, inner, first, _ = parts[p]
        mine = scale[first : first + groups * rows]
        if wide:
            _multiply(carray(float64_at(address), (groups, outer, rows * inner)), inner, mine, spread64)
        else:
            _multiply(carray(float32_at(address), (groups, outer, rows * inner)), inner, mine, spread32)


@jit
def _multiply(w: Weights, inner: int, scale: Floats, spread: Weights) -> None:
    groups, outer, columns = w.shape
    rows = columns // inner
    for g in range(groups):
        if outer == 1:
            for r in range(rows):
                factor = w.dtype.type(scale[g * rows + r])
                line = w[g, 0][r * inner : (r + 1) * inner]
                for j in range(inner):
                    line[j] *= factor
        else:
            for j in range(columns):
                spread[j] = scale[g * rows + j // inner]
            for a in range(outer):
                line = w[g, a]
                for j in range(columns):
                    line[j] *= spread[j]
