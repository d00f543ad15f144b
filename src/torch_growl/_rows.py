"""Row norms and row scaling of many weights in two compiled calls, reading and writing the weights where they lie.

What a proximal step costs is reading the weights once and reading and writing them once: no copy is made, and scratch
memory does not grow with them. A weight is described by six integers, one row of a table:

    address, 1 for float64 or 0 for float32, groups, outer, rows, inner

for dense memory of shape ``(groups, outer, rows, inner)``: a row is ``w[g, :, r, :]``, number ``g * rows + r``. The
inputs of a Linear layer are ``(1, out, in, 1)``, of a convolution ``(groups, out / groups, in / groups, taps)``,
neurons and filters ``(1, 1, out, row length)``. An address of 0 is skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numpy.typing import NDArray

from torch_growl._address import float32_at, float64_at
from torch_growl._compile import jit, jit_summing

__all__ = ["COLUMNS", "rescale_", "row_norms"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Weights = NDArray[Any]  # float32 or float64

COLUMNS = 6  # of the table
_STRIP = 16384  # columns summed at a time: their sums stay in cache, and reading still runs on in long lines


@jit
def row_norms(table: Ints, offsets: Ints, norms: Floats) -> None:
    """The ℓ2 norm of every row of every weight, summed in float64.

    Args:
        table: ``(n_weights, 6)``, see the module; every address must be that of live memory.
        offsets: ``(n_weights + 1,)``: weight s has the rows ``offsets[s]`` to ``offsets[s + 1]``.
        norms: ``(n_rows,)``, written where there is an address.
    """
    sums = np.empty(_STRIP, np.float64)
    for s in range(len(table)):
        address, wide, groups, outer, rows, inner = table[s]
        mine = norms[offsets[s] : offsets[s + 1]]
        if address and wide:
            _squares(carray(float64_at(address), (groups, outer, rows * inner)), inner, mine, sums)
        elif address:
            _squares(carray(float32_at(address), (groups, outer, rows * inner)), inner, mine, sums)
        if address:
            for r in range(len(mine)):
                mine[r] = np.sqrt(mine[r])


@jit
def _squares(w: Weights, inner: int, squares: Floats, sums: Floats) -> None:
    groups, outer, columns = w.shape
    if outer == 1:
        _along(w.reshape(groups * columns // inner, inner), squares)
        return
    rows = columns // inner
    squares[:] = 0.0
    for g in range(groups):
        for start in range(0, columns, _STRIP):
            stop = min(start + _STRIP, columns)
            _down(w[g], start, stop, sums)
            for j in range(start, stop):
                squares[g * rows + j // inner] += sums[j - start]


@jit_summing
def _square(x: float) -> float:
    wide = np.float64(x)
    return float(wide * wide)


@jit_summing
def _along(w: Weights, squares: Floats) -> None:
    """Sums of squares along each row of a matrix."""
    for r in range(len(w)):
        total = 0.0
        for j in range(w.shape[1]):
            total += _square(w[r, j])
        squares[r] = total


@jit_summing
def _down(w: Weights, start: int, stop: int, sums: Floats) -> None:
    """Sums of squares down the columns start to stop of a matrix; eight rows of it at a time, to touch sums rarely."""
    sums = sums[: stop - start]
    sums[:] = 0.0
    eights = len(w) // 8 * 8
    for i in range(0, eights, 8):
        # slices, not offsets: an index that could be negative would keep this from becoming vector instructions
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
def rescale_(table: Ints, offsets: Ints, scale: Floats) -> None:
    """Multiply every row of every weight by its scale, in place; a scale of 0 gives exact zeros.

    Args:
        table, offsets: as for :func:`row_norms`.
        scale: ``(n_rows,)``; rounded to the weight's type.
    """
    widest = 1
    for s in range(len(table)):
        widest = max(widest, table[s, 4] * table[s, 5] if table[s, 3] > 1 else 1)
    spread32, spread64 = np.empty(widest, np.float32), np.empty(widest, np.float64)
    for s in range(len(table)):
        address, wide, groups, outer, rows, inner = table[s]
        mine = scale[offsets[s] : offsets[s + 1]]
        if address and wide:
            _multiply(carray(float64_at(address), (groups, outer, rows * inner)), inner, mine, spread64)
        elif address:
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
