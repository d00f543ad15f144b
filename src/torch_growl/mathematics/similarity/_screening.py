"""The compiled loops of ``similarity.sparse``: screening of tiles of products, exact similarities, sparse rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_growl.mathematics.compiled.compilation import jit, jit_summing

__all__ = ["collect", "count", "fill", "lead"]

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

_STEP = 64  # products tested together; nearly always none passes
_SAFE = np.float32(1 - 1e-6)  # for the rounding of the thresholds themselves


@jit_summing
def _dot(a: NDArray[Any], b: NDArray[Any]) -> float:
    total = 0.0
    for k in range(len(a)):
        total += np.float64(a[k]) * np.float64(b[k])
    return total


@jit
def collect(
    products: Floats32,
    a: int,
    b: int,
    up_a: Floats32,
    down_a: Floats32,
    up_b: Floats32,
    down_b: Floats32,
    margin: float,
    preference: float,
    order: Ints,
    exact: NDArray[Any],
    inverse: Floats,
    exponent: Floats,
    left: Ints32,
    right: Ints32,
    value: Floats,
    full: int,
) -> int:
    """Append the similar pairs of a tile to ``left``, ``right`` and ``value``, from place ``full`` on.

    A pair needs a cosine of preference · (larger norm / smaller norm) = preference · max(up_i down_j, down_i up_j).
    """
    rows, columns = products.shape
    wide = np.float32(margin)
    for i in range(rows):
        above, below = np.float32(preference) * _SAFE * up_a[i], np.float32(preference) * _SAFE * down_a[i]
        line = products[i]
        for start in range(max(0, a + i + 1 - b), columns, _STEP):
            stop = min(start + _STEP, columns)
            any_passes = False
            for j in range(start, stop):
                any_passes |= (line[j] + wide >= above * down_b[j]) & (line[j] + wide >= below * up_b[j])
            if not any_passes:
                continue
            for j in range(start, stop):
                if line[j] + wide < above * down_b[j] or line[j] + wide < below * up_b[j]:
                    continue
                p, q = order[a + i], order[b + j]
                ratio = 2.0 ** (exponent[q] - exponent[p])
                # ⟨w_p, w_q⟩ = 2^(e_p + e_q) ⟨u_p, u_q⟩, and 1/max(x, y) = min(1/x, 1/y)
                similarity = _dot(exact[p], exact[q]) * min(inverse[p] * ratio, inverse[q] / ratio)
                if similarity >= preference:
                    left[full], right[full], value[full] = a + i, b + j, min(similarity, 1.0)
                    full += 1
    return full


@jit
def lead(products: Floats32, least: float, some: Ints, number: int, cell: Ints, cosine: Floats32) -> Ints:
    """Choose new leaders among rows that are near to no leader, and assign the rows to their cells.

    Args:
        products: ``(m, m)`` cosines of the rows ``some``.
        least: the smallest cosine of a row to its leader.
        number: the number of the first new cell.
        cell, cosine: written for these rows.
    """
    m = len(some)
    placed = np.zeros(m, np.bool_)
    leaders = np.empty(m, np.int64)
    found = 0
    for i in range(m):
        if placed[i]:
            continue
        leaders[found] = some[i]
        for j in range(i, m):
            if not placed[j] and (j == i or products[i, j] >= least):
                placed[j] = True
                cell[some[j]] = number + found
                cosine[some[j]] = products[i, j] if j != i else 1.0
        found += 1
    return leaders[:found]


@jit
def count(left: Ints32, right: Ints32, indptr: Ints) -> None:
    """Add the number of each row's entries to ``indptr`` at its place + 1."""
    for e in range(len(left)):
        indptr[left[e] + 1] += 1
        indptr[right[e] + 1] += 1


@jit
def fill(left: Ints32, right: Ints32, value: Floats, filled: Ints, indices: Ints32, values: Floats) -> None:
    """Write each pair in both directions, at the places up to which its rows are filled.

    Tiles come in an order in which every row's indices are ascending.
    """
    for e in range(len(left)):
        i, j = left[e], right[e]
        indices[filled[i]], values[filled[i]] = j, value[e]
        filled[i] += 1
        indices[filled[j]], values[filled[j]] = i, value[e]
        filled[j] += 1
