"""Groups of alike rows: affinity propagation on the row similarity, taken apart into exact, independent pieces.

The paper (ICLR 2018, section 4) ties the rows of a layer by affinity propagation on
``S(i, j) = ⟨w_i, w_j⟩ / max(‖w_i‖², ‖w_j‖²)``. It maximises the net similarity: every group has one of its rows as
exemplar, which counts ``preference``, and every other row counts its similarity to its exemplar. A row less similar
than ``preference`` to all others does better alone, so a solution never joins across the connected components of
``{S ≥ preference}``, and bit-equal rows are never apart: both are used here, and are exact. What :func:`find_tying`
asks layer by layer.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_growl._affinity import best_exemplars, gains, net_similarity
from torch_growl.errors import GrowlWarning, InvalidTypeError, InvalidValueError
from torch_growl.partition import PRUNED, Partition
from torch_growl.similarity import check_rows, row_similarity

__all__ = ["Clustering", "cluster_rows"]


@dataclass(frozen=True, eq=False)
class Clustering:
    """Which rows are alike.

    Attributes:
        labels: ``(n_rows,)`` int64 on W's device: −1 for an all-zero row, else its group, numbered by first appearance.
        exemplars: for each group, the row that stands for it (of bit-equal ones the first).
        objective: the net similarity over nonzero rows: ``preference`` for every group plus, for every row that is not
            an exemplar, its similarity to its exemplar; 0 without nonzero rows.
        converged: False when affinity propagation ran out of iterations somewhere; the groups are then the best that
            greedy choice and local search found.
    """

    labels: Tensor
    exemplars: tuple[int, ...]
    objective: float
    converged: bool

    @property
    def n_groups(self) -> int:
        """Number of groups, single rows included."""
        return len(self.exemplars)

    @property
    def partition(self) -> Partition:
        """The labels as a :class:`Partition`."""
        return Partition.from_labels(self.labels)


def cluster_rows(W: Tensor, preference: float = 0.8, *, damping: float = 0.9, max_iter: int = 1000) -> Clustering:
    """Group the rows of a matrix by the net similarity.

    Maximises ``Σ_{i not an exemplar} S(i, e(i)) + preference · #exemplars`` over nonzero rows. Bit-equal rows are
    merged and connected components of {S ≥ preference} solved one by one, which changes no optimum: up to 10 distinct
    rows exactly, larger ones by affinity propagation and a greedy choice, each improved by local search, of which the
    better is kept. Deterministic; rows are put in an order that depends on their content alone, so permuting the rows
    permutes the groups with them.

    Memory is O(n²): two float64 matrices of the nonzero distinct rows.

    Args:
        W: ``(n_rows, …)``, two dimensions or more, rows along dim 0; any real floating type; computed in float64 on the
            CPU; not modified.
        preference: what an exemplar counts, in (0, 1]: rows join an exemplar only at a similarity of at least this.
        damping: of affinity propagation, in [0.5, 1). Below 0.9 it fails on tightly tied rows.
        max_iter: of affinity propagation, ≥ 1.

    Raises:
        InvalidTypeError: ``W`` is not a floating-point tensor, or an option not a number.
        InvalidValueError: ``W`` has fewer than two dimensions or NaN or infinite values, or an option is outside its
            range.

    Warns:
        GrowlWarning: affinity propagation did not converge on a component; its size is named.
    """
    _check_options(preference, damping, max_iter)
    rows = check_rows(W).cpu()
    same = Partition.from_rows(rows)  # zero rows, bit-equal rows
    labels = np.array(same.labels, dtype=np.int64)
    _, first = np.unique(labels, return_index=True)
    first = first[labels[first] != PRUNED]  # the first row of each kind
    copies = np.array(same.sizes, dtype=np.int64)
    first, copies, back = _by_content(rows, first, copies)
    exemplar, objective, stuck = _solve(rows[first], copies, preference, damping, max_iter)
    if stuck:
        warnings.warn(
            f"affinity propagation did not converge within {max_iter} iterations on {len(stuck)} component(s), the "
            f"largest of {max(stuck)} distinct rows; the best grouping found otherwise is used "
            "(raise max_iter or damping)",
            GrowlWarning,
            stacklevel=2,
        )
    of_row = np.full(len(labels), PRUNED, dtype=np.int64)  # each row's exemplar
    nonzero = labels != PRUNED
    of_row[nonzero] = first[exemplar][back[labels[nonzero]]]
    groups = Partition.from_labels(of_row.tolist())
    exemplars = tuple(dict.fromkeys(of_row[nonzero].tolist()))
    return Clustering(groups.tensor(W.device), exemplars, objective, not stuck)


def _solve(
    distinct: Tensor, copies: NDArray[np.int64], preference: float, damping: float, max_iter: int
) -> tuple[NDArray[np.int64], float, list[int]]:
    """Each distinct row's exemplar, the objective, and the sizes of the components where propagation got stuck."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    exemplar = np.arange(len(distinct))
    objective = 0.0
    stuck: list[int] = []
    S = row_similarity(distinct).numpy()
    if not len(S):
        return exemplar, objective, stuck
    n_components, component = connected_components(csr_array(preference <= S), directed=False)
    order = np.argsort(component, kind="stable")
    for members in np.split(order, np.searchsorted(component[order], np.arange(1, n_components))):
        G = gains(S[np.ix_(members, members)], copies[members], preference)
        E, converged = best_exemplars(G, damping=damping, max_iter=max_iter)
        owner = E[G[:, E].argmax(axis=1)]
        owner[E] = E
        exemplar[members] = members[owner]
        objective += net_similarity(G, E)
        if not converged:
            stuck.append(len(members))
    return exemplar, objective, stuck


def _by_content(
    rows: Tensor, first: NDArray[np.int64], copies: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Put distinct rows in an order that their content alone decides; the last is the way back."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=generator) * 2 + 1
    codes = ((rows[first] + 0.0).contiguous().view(torch.int64) * factors).sum(dim=1).numpy()  # wraps: exact
    order = np.argsort(codes, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return first[order], copies[order], back


def _check_options(preference: Any, damping: Any, max_iter: Any) -> None:
    for name, value in (("preference", preference), ("damping", damping)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidTypeError(f"{name} must be a number, got {type(value).__name__}")
    if not (math.isfinite(preference) and 0 < preference <= 1):
        raise InvalidValueError(
            f"preference must be in (0, 1], got {preference}: no similarity exceeds 1, so more would tie no rows, "
            "and 0 or less would tie unrelated ones"
        )
    if not 0.5 <= damping < 1:
        raise InvalidValueError(f"damping must be in [0.5, 1), got {damping}")
    if isinstance(max_iter, bool) or not isinstance(max_iter, int):
        raise InvalidTypeError(f"max_iter must be an integer, got {type(max_iter).__name__}")
    if max_iter < 1:
        raise InvalidValueError(f"max_iter must be ≥ 1, got {max_iter}")
