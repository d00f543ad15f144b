"""Similar pairs of rows: every pair with ``S(i, j) ≥ preference``, found block by block without holding n² numbers.

Used by :func:`torch_growl.cluster_rows`; S is that of :func:`torch_growl.row_similarity`. Two bounds exclude most pairs
and lose none:

* S(i, j) is the cosine times the smaller norm over the larger, so a pair needs norms within a factor of preference;
* angles obey the triangle inequality: rows within r_A and r_B of two leaders are at least their angle − r_A − r_B
  apart. Tied rows, many in few narrow cells, thus need n · cells products instead of n²/2. For rows without such a
  structure the leaders are given up early.

The remaining pairs are screened by a float32 product whose largest error is the margin; pairs that pass are computed in
float64. The result therefore does not depend on the screening.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_growl.mathematics.similarity.dense import as_matrix, to_unit_size

__all__ = ["SimilarPairs", "similar_pairs"]

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Span = tuple[int, int, int, int]  # rows from, to; compared with rows from, to

_ROWS, _COLUMNS = 512, 4096  # a tile of products: 8 MiB
_VALUES = 1 << 22  # converted to float64 at a time
_LEADERS_FROM = 1024  # for fewer rows it is faster to compare all pairs
_UNIT = 2.0**-24  # float32 rounding
_NOTHING = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float64))
_FAR = 60.0  # norms of a tile are held as powers of two up to this exponent; the cut only lets more pairs through


@dataclass(frozen=True, eq=False)
class SimilarPairs:
    """The pairs of different rows with S ≥ preference, in both directions, as a sparse symmetric matrix.

    Rows are reordered so that similar ones are near one another. An entry takes 12 bytes.

    Attributes:
        order: ``(n,)`` int64: the row at each place.
        indptr: ``(n + 1,)`` int64: the entries of place i are ``indptr[i]`` up to ``indptr[i + 1]``.
        indices: int32: the similar places, ascending within each row, without the place itself.
        values: float64: their S.
    """

    order: Ints
    indptr: Ints
    indices: Ints32
    values: Floats


@torch.no_grad()
def similar_pairs(W: Tensor, preference: float) -> SimilarPairs:
    """Find every pair of different rows with ``S(i, j) = ⟨w_i, w_j⟩ / max(‖w_i‖², ‖w_j‖²) ≥ preference``.

    S is computed in float64, safe from overflow and underflow, and is exactly symmetric; sums are taken in another
    order than in :func:`torch_growl.row_similarity`, so the last digit can differ. The result is the same on every run.

    Memory beyond W: a float32 copy of it (for float64 and half types also one in float64 or float32), 40 bytes for
    every pair found (i < j), and 32 MiB. Time: n² · row_length / 2 float32 products at most; n · cells · row_length
    for tied rows in few cells.

    Args:
        W: ``(n_rows, …)``, two dimensions or more, rows along dim 0; any real floating type; computed on the CPU; not
            modified. All-zero rows are similar to none.
        preference: in (0, 1].

    Raises:
        InvalidTypeError: not a floating-point tensor.
        InvalidValueError: fewer than two dimensions, or NaN or infinite values.
    """
    from torch_growl.mathematics.similarity import _screening

    rows = _Rows(as_matrix(W).cpu(), preference)
    n = len(rows.size)
    cells = _near_cells(rows) if n >= _LEADERS_FROM else None
    found = list(_collect(rows, _within_norms(rows) if cells is None else cells))
    indptr = np.zeros(n + 1, np.int64)
    for left, right, _ in found:
        _screening.count(left, right, indptr)
    np.cumsum(indptr, out=indptr)
    indices, values, filled = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float64), indptr[:-1].copy()
    for at, block in enumerate(found):
        _screening.fill(*block, filled, indices, values)
        found[at] = _NOTHING  # frees its memory
    return SimilarPairs(rows.order, indptr, indices, values)


class _Rows:
    """The rows, their directions in float32, their sizes, and the order in which they are compared.

    Attributes:
        exact: ``(n, d)`` float32 or float64, in W's order; float64 rows scaled by ``2^−exponent``.
        exponent: ``(n,)`` float64, in W's order; 0 for rows that were not scaled.
        inverse: ``(n,)`` float64, in W's order: 1 / ‖exact‖², 1 for zero rows.
        order: ``(n,)``: by size at first.
        direction: ``(n, d)`` float32, rows of norm 1, in this order.
        size: ``(n,)`` log2 of the norms, in this order.
        margin: the largest error of a product of directions.
    """

    def __init__(self, rows: Tensor, preference: float) -> None:
        n, d = rows.shape
        self.preference = preference
        self.margin = (d + 8) * _UNIT * 1.01 / max(1 - (d + 8) * _UNIT, 0.01)
        self.exponent, self.inverse = np.zeros(n), np.ones(n)
        direction, size = np.empty((n, d), np.float32), np.full(n, -2000.0)
        double = rows.dtype == torch.float64
        exact = torch.empty(rows.shape, dtype=rows.dtype) if double else rows.float().contiguous()
        for some in _slices(n, d):
            part = rows[some].to(torch.float64).contiguous()  # so that sums are taken in one order
            scaled, e, nonzero = to_unit_size(part)
            square = scaled.square().sum(dim=1)
            norm = torch.where(nonzero, square, 1.0).sqrt()
            if double:
                exact[some] = scaled
                self.exponent[some] = e.numpy()
            else:
                square = part.square().sum(dim=1)
            direction[some] = scaled.div_(norm.unsqueeze(1)).float().numpy()
            size[some] = torch.where(nonzero, norm.log2() + e, -2000.0).numpy()
            self.inverse[some] = torch.where(nonzero, 1 / square, 1.0).numpy()
        self.exact: NDArray[Any] = exact.numpy()
        self.order = np.argsort(size, kind="stable")
        self.direction, self.size = direction[self.order], size[self.order]

    def reorder(self, by: Ints) -> None:
        """Move the row at place ``by[k]`` to place k, for every k."""
        self.order, self.direction, self.size = self.order[by], self.direction[by], self.size[by]


def _slices(n: int, d: int) -> Iterator[slice]:
    step = max(1, _VALUES // max(d, 1))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _within_norms(rows: _Rows) -> Iterator[Span]:
    """Pair each block of rows, in the order of size, with the rows from itself on that are not too large for it."""
    n = len(rows.size)
    reach = 1e-9 - math.log2(rows.preference)
    for start in range(0, n, _ROWS):
        stop = min(start + _ROWS, n)
        yield start, stop, start, int(np.searchsorted(rows.size, rows.size[stop - 1] + reach, side="right"))


def _near_cells(rows: _Rows) -> list[Span] | None:
    """Divide the rows into narrow cells about leaders and find the cells near enough for similar pairs.

    Reorders the rows, cell by cell. Returns None, with the rows as they were, if the cells would save too little.
    """
    from torch_growl.mathematics.similarity import _screening

    n, V = len(rows.size), rows.direction
    most = n // 8  # more cells save too little
    apart = math.acos(min(1.0, rows.preference)) + 1e-6  # the largest angle between similar rows
    radius = max(math.radians(5), (math.radians(80) - apart) / 2)  # unrelated directions are at about 90°
    least = math.cos(radius)
    leaders, cell, cosine = np.empty(0, np.int64), np.empty(n, np.int64), np.empty(n, np.float32)
    for start in range(0, n, _ROWS):
        some = np.arange(start, min(start + _ROWS, n))
        if len(leaders):
            products = V[some] @ V[leaders].T
            cell[some] = products.argmax(axis=1)
            cosine[some] = products[np.arange(len(some)), cell[some]]
            some = some[cosine[some] < least]
        if len(some):
            new = _screening.lead(V[some] @ V[some].T, least, some, len(leaders), cell, cosine)
            leaders = np.concatenate([leaders, new])
        if len(leaders) > most:
            return None
    by = np.lexsort((np.arange(n), cell))
    sizes = np.bincount(cell, minlength=len(leaders))
    begin = np.concatenate([[0], np.cumsum(sizes)])
    wide = np.zeros(len(leaders))  # each cell's radius, rounded up
    np.maximum.at(wide, cell, np.arccos(np.clip(cosine.astype(np.float64) - rows.margin, -1, 1)))
    spans: list[Span] = []
    area, L = 0, V[leaders]
    for start in range(0, len(leaders), _ROWS):
        stop = min(start + _ROWS, len(leaders))
        angle = np.arccos(np.clip((L[start:stop] @ L[start:].T).astype(np.float64) + rows.margin, -1, 1))
        near = angle <= apart + wide[start:stop, None] + wide[None, start:] + 1e-6
        for a in range(start, stop):
            others = start + np.flatnonzero(near[a - start, a - start :]) + (a - start)
            runs = np.split(others, np.flatnonzero(np.diff(others) > 1) + 1)
            spans += [(begin[a], begin[a + 1], begin[run[0]], begin[run[-1] + 1]) for run in runs if len(run)]
            area += int(sizes[a] * sizes[others].sum())
        if area > n * n // 8 or len(spans) > 16 * n:
            return None
    rows.reorder(by)
    return spans


def _collect(rows: _Rows, spans: Iterable[Span]) -> Iterator[tuple[Ints32, Ints32, Floats]]:
    """Yield the similar pairs of all spans: lower place, higher place, S; the first ascending within a tile."""
    from torch_growl.mathematics.similarity import _screening

    tile = np.empty(_ROWS * _COLUMNS, np.float32)
    left, right, value = np.empty(tile.size, np.int32), np.empty(tile.size, np.int32), np.empty(tile.size)
    full = 0
    for a_start, a_stop, b_start, b_stop in spans:
        for a in range(a_start, a_stop, _ROWS):
            A = slice(a, min(a + _ROWS, a_stop))
            for b in range(max(b_start, a), b_stop, _COLUMNS):
                B = slice(b, min(b + _COLUMNS, b_stop))
                shape = (A.stop - a, B.stop - b)
                if full + shape[0] * shape[1] > tile.size:
                    yield left[:full].copy(), right[:full].copy(), value[:full].copy()
                    full = 0
                products = tile[: shape[0] * shape[1]].reshape(shape)
                np.matmul(rows.direction[A], rows.direction[B].T, out=products)
                middle = float(np.clip(rows.size[A], -1100, 1100).mean())
                full = _screening.collect(
                    products,
                    a,
                    b,
                    *_powers(rows.size[A] - middle),
                    *_powers(rows.size[B] - middle),
                    rows.margin,
                    rows.preference,
                    rows.order,
                    rows.exact,
                    rows.inverse,
                    rows.exponent,
                    left,
                    right,
                    value,
                    full,
                )
    yield left[:full].copy(), right[:full].copy(), value[:full].copy()


def _powers(size: Floats) -> tuple[Floats32, Floats32]:
    """Return 2^size and 2^−size, cut off at 2^60, so that products of two are finite and none is too large."""
    up, down = np.exp2(np.minimum(size, _FAR)), np.exp2(np.minimum(-size, _FAR))
    return up.astype(np.float32), down.astype(np.float32)
