"""Groups of similar rows: affinity propagation on the row similarity, in exact, independent parts.

The paper (ICLR 2018, section 4) ties the rows of a layer by affinity propagation on
``S(i, j) = ⟨w_i, w_j⟩ / max(‖w_i‖², ‖w_j‖²)``. It maximises the net similarity: every group has one of its rows as
exemplar, which counts ``preference``, and every other row counts its similarity to its exemplar. A row less similar
than ``preference`` to all others is better off alone. So only pairs with S ≥ preference matter, no group joins two of
their connected components, and bit-equal rows are in one group. All three facts are exact and are used here.
:func:`torch_growl.find_tying` calls this for every layer.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_growl.arguments import check_choice, check_count, check_number
from torch_growl.errors import GrowlWarning
from torch_growl.mathematics.clustering.partition import PRUNED, Partition, first_rows, row_codes
from torch_growl.mathematics.similarity import as_matrix, similar_pairs

__all__ = ["Clustering", "cluster_rows"]

_VALUES = 1 << 21  # read at a time


@dataclass(frozen=True, eq=False)
class Clustering:
    """The groups of similar rows found by :func:`cluster_rows`.

    Attributes:
        labels: ``(n_rows,)`` int64 on W's device: −1 for an all-zero row, else its group, numbered by first appearance.
        exemplars: for each group, its exemplar (of bit-equal rows the first).
        objective: the net similarity over nonzero rows: ``preference`` for every group plus, for every row that is not
            an exemplar, its similarity to its exemplar; 0 without nonzero rows.
        converged: False if affinity propagation did not converge on some component; its groups are then the best that
            greedy choice and local search found.
    """

    labels: Tensor
    exemplars: tuple[int, ...]
    objective: float
    converged: bool

    @property
    def n_groups(self) -> int:
        """The number of groups, single rows included."""
        return len(self.exemplars)

    @property
    def partition(self) -> Partition:
        """The labels as a :class:`Partition`."""
        return Partition.from_labels(self.labels)


def cluster_rows(
    W: Tensor,
    preference: float = 0.8,
    *,
    damping: float = 0.9,
    max_iter: int = 1000,
    method: Literal["affinity", "exact"] = "affinity",
    time_limit: float = 60.0,
) -> Clustering:
    """Group the rows of a matrix by the net similarity.

    Maximises ``Σ_{i not an exemplar} S(i, e(i)) + preference · #exemplars`` over nonzero rows. Bit-equal rows are
    merged and connected components of {S ≥ preference} are solved one by one, which changes no optimum. Components of
    up to 12 distinct rows, and larger ones so tight that few sets of exemplars can be best, are solved exactly; the
    others by affinity propagation and a greedy choice, of which the better is improved by local search and by kicks out
    of local optima. Deterministic; rows are put in an order that depends on their content alone, so permuting the rows
    permutes the groups with them.

    Memory beyond W: about a copy of W's distinct rows, 40 bytes for every pair of them with S ≥ preference, and 24 more
    for those of the largest component; n² numbers only if all pairs are that similar. Similarities are float64, the
    messages of affinity propagation float32.

    Args:
        W: ``(n_rows, …)``, two dimensions or more, rows along dim 0; any real floating type; computed on the CPU; not
            modified.
        preference: the value of an exemplar, in (0, 1]: rows join an exemplar only at a similarity of at least this.
        damping: damping factor of affinity propagation, in [0.5, 1). Below 0.9 it fails on tightly tied rows.
        max_iter: most iterations of affinity propagation, ≥ 1.
        method: ``"affinity"``, or ``"exact"``: every component is solved to proven optimality, to 1e-6 of the
            objective, by an integer program (HiGHS). Meant for components of up to some hundred distinct rows: at most
            200,000 similar pairs.
        time_limit: seconds that ``"exact"`` may spend on one component, > 0.

    Raises:
        InvalidTypeError: ``W`` is not a floating-point tensor, or an option is not a number.
        InvalidValueError: ``W`` has fewer than two dimensions or NaN or infinite values, an option is outside its
            range, or ``"exact"`` could not prove the optimum of a component within its limits.

    Warns:
        GrowlWarning: affinity propagation did not converge on a component; the message names its size.

    Example:
        >>> import torch, torch_growl as tg
        >>> found = tg.cluster_rows(torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 0.0], [1.1, 1.9]]), preference=0.8)
        >>> found.labels.tolist(), found.n_groups, round(found.objective, 3)
        ([0, 1, -1, 0], 2, 2.58)
    """
    _check_options(preference, damping, max_iter, method, time_limit)
    rows = as_matrix(W).cpu()
    same = Partition.from_rows(rows)  # zero rows, bit-equal rows
    labels = np.array(same.labels, dtype=np.int64)
    first, copies, back = _by_content(rows, first_rows(same), np.array(same.sizes, dtype=np.int64))
    exact = time_limit if method == "exact" else None
    exemplar, objective, stuck = _solve(rows[first], copies, preference, damping, max_iter, exact)
    if stuck:
        warnings.warn(
            f"affinity propagation did not converge within {max_iter} iterations on {len(stuck)} component(s), the "
            f"largest of {max(stuck)} distinct rows; the best groups of greedy choice and local search are used there "
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
    distinct: Tensor,
    copies: NDArray[np.int64],
    preference: float,
    damping: float,
    max_iter: int,
    exact: float | None,
) -> tuple[NDArray[np.int64], float, list[int]]:
    """Return each distinct row's exemplar, the objective, and the sizes of components that did not converge.

    ``exact`` is the time limit in seconds for the proof of one component, or None for no proofs.
    """
    from torch_growl.mathematics.clustering._affinity import components, solve
    from torch_growl.mathematics.clustering._integer_program import prove
    from torch_growl.mathematics.clustering._local_search import Graph

    pairs = similar_pairs(distinct, preference)
    m = copies[pairs.order].astype(np.float64)
    graph = Graph(pairs.indptr, pairs.indices, pairs.values, m, preference + (m - 1))
    members, starts = components(graph)
    place, value, iterations = solve(graph, members, starts, damping=damping, max_iter=max_iter)
    if exact is not None:
        prove(graph, members, starts, iterations, place, value, exact)
        iterations = np.zeros_like(iterations)
    exemplar = np.empty(len(m), np.int64)
    exemplar[pairs.order] = pairs.order[place]
    return exemplar, math.fsum(value), np.diff(starts)[iterations < 0].tolist()


def _by_content(
    rows: Tensor, first: NDArray[np.int64], copies: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Order distinct rows by their content; returns the rows, their copies, and the place of each in the new order."""
    codes = np.empty(len(first), np.int64)
    step = max(1, _VALUES // max(rows.shape[1], 1))
    for start in range(0, len(first), step):
        some = rows[first[start : start + step]].to(torch.float64) + 0.0  # −0.0 becomes 0.0
        codes[start : start + step] = row_codes(some).numpy()
    order = np.argsort(codes, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return first[order], copies[order], back


def _check_options(preference: Any, damping: Any, max_iter: Any, method: Any, time_limit: Any) -> None:
    why = "no similarity exceeds 1, so more would tie no rows, and 0 or less would tie unrelated ones"
    check_number("preference", preference, above=0, most=1, why=why)
    check_number("damping", damping, least=0.5, below=1)
    check_count("max_iter", max_iter)
    check_choice("method", method, ("affinity", "exact"))
    check_number("time_limit", time_limit, above=0, unit="seconds")
