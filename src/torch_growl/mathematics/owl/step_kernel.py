"""The compiled proximal step of a whole network: from row norms to row scales in one call.

Used by :mod:`torch_growl.networks.penalty.row_step`. Layer s has the rows ``offsets[s]`` to ``offsets[s + 1]`` of every
flat array.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from torch_growl.mathematics.compiled.compilation import jit
from torch_growl.mathematics.owl.prox_kernel import solve_with_order
from torch_growl.mathematics.owl.row_scaling import combine, rescale_, squares

__all__ = ["DONE", "FLOORED", "shrink", "whole_step"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Bools = NDArray[np.bool_]

DONE, FLOORED = -1, -2

_TINY = 1e-30


@jit
def shrink(
    norms: Floats,
    lam: Floats,
    offsets: Ints,
    rates: Floats,
    scale_free: bool,
    min_rows: int,
    dead: Bools,
    before: Ints32,
    scale: Floats,
    floored: Bools,
    space: Ints,
) -> int:
    """Compute the factors by which one proximal step scales the rows.

    Args:
        norms: ``(n,)``; those of removed rows are taken as 0. Overwritten.
        lam: ``(n,)``, every layer's λ, non-negative and non-increasing.
        offsets: ``(n_layers + 1,)``.
        rates: ``(n_layers,)``, learning rate · strength, ≥ 0.
        scale_free: divide the threshold by √rows · ‖norms‖, and restore the norm of every layer afterwards.
        min_rows: a layer in which fewer nonzero rows would be left keeps this number of its largest rows unchanged (or
            all its nonzero rows, if there are fewer).
        dead: ``(n,)``, updated: removed rows, which stay zero.
        before: ``(n,)``, each layer's sorted order of the last step, updated.
        scale: ``(n,)``, written.
        floored: ``(n_layers,)``, written: whether ``min_rows`` applied.
        space: ``(5, …)``, scratch, longer than the longest layer.

    Returns:
        DONE; FLOORED, if ``min_rows`` applied in some layer; or the first layer with a norm that is not finite: then
        only ``norms`` was changed.
    """
    n_layers = len(offsets) - 1
    for s in range(n_layers):
        finite = True
        for i in range(offsets[s], offsets[s + 1]):
            if dead[i]:
                norms[i] = 0.0
            finite &= norms[i] < np.inf
        if not finite:
            return s
    weights = space[4].view(np.float64)
    found = DONE
    for s in range(n_layers):
        lo, hi = offsets[s], offsets[s + 1]
        n = hi - lo
        v, x = norms[lo:hi], scale[lo:hi]
        rate, norm = rates[s], _norm(v)
        if rate == 0.0:  # bit for bit as it was
            floored[s] = False
            for k in range(n):
                x[k] = 1.0 if v[k] > 0.0 else 0.0
            continue
        if scale_free:
            rate /= max(math.sqrt(n) * norm, _TINY)
        for k in range(n):
            weights[k] = lam[lo + k] * rate
        solve_with_order(v, weights[:n], x, before[lo:hi], space)
        floored[s] = _floor(v, x, min_rows)
        if floored[s]:
            found = FLOORED
        back = norm / max(_norm(x), _TINY) if scale_free else 1.0
        for k in range(n):
            if v[k] > 0.0:
                dead[lo + k] |= x[k] == 0.0
                x[k] = x[k] * back / max(v[k], _TINY)
            else:
                x[k] = 0.0
    return found


@jit
def whole_step(
    parts: Ints,
    sums: Floats,
    offsets: Ints,
    rows: Floats,
    rates: Floats,
    scale_free: bool,
    min_rows: int,
    dead: Bools,
    before: Ints32,
    floored: Bools,
    space: Ints,
) -> int:
    """Compute the norms, call :func:`shrink` and scale the rows: one call, since calls dominate in small networks.

    Args:
        parts: the table of :mod:`torch_growl.mathematics.owl.row_scaling`, of all weights.
        sums: scratch for :func:`torch_growl.mathematics.owl.row_scaling.squares`.
        rows: ``(3, n)``: norms, written; λ; scales, written.
        offsets, rates, scale_free, min_rows, dead, before, floored, space: as for :func:`shrink`.

    Returns:
        As :func:`shrink`; if it is not negative, no weight was written.
    """
    squares(parts, sums)
    combine(parts, sums, rows[0])
    found = shrink(rows[0], rows[1], offsets, rates, scale_free, min_rows, dead, before, rows[2], floored, space)
    if found < 0:
        rescale_(parts, rows[2])
    return found


@jit
def _norm(v: Floats) -> float:
    total = 0.0
    for k in range(len(v)):
        total += v[k] * v[k]
    return math.sqrt(total)


@jit
def _floor(v: Floats, x: Floats, min_rows: int) -> bool:
    """If too few rows are left, keep the largest ones unchanged (of equal ones, the first); returns whether so."""
    there, left = 0, 0
    for k in range(len(v)):
        there += v[k] > 0.0
        left += x[k] > 0.0
    least = min(min_rows, there)
    if left >= least:
        return False
    x[:] = 0.0
    for _ in range(least):
        largest = -1
        for k in range(len(v)):
            if x[k] == 0.0 and v[k] > 0.0 and (largest < 0 or v[k] > v[largest]):
                largest = k
        x[largest] = v[largest]
    return True
