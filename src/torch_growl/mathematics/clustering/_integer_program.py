"""The proven optimum of one component: an integer program, solved by HiGHS.

Used by :mod:`torch_growl.mathematics.clustering.clusters`; the problem is stated in
:mod:`torch_growl.mathematics.clustering._local_search`. It is uncapacitated facility location in its strong form, whose
relaxation is nearly always integral:

    max Σ_k own(k) y_k + Σ_{(i,k)} G(i, k) x_ik,   y_i + Σ_k x_ik = 1,   0 ≤ x_ik ≤ y_k,   y_k ∈ {0, 1}.

Only pairs with ``G(i, k) > own(i)`` are variables: else row i counts at least as much when it is an exemplar.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.clustering._affinity import new_state
from torch_growl.mathematics.clustering._local_search import Graph, net_similarity, settle_owners, use

__all__ = ["optimum", "prove"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_PAIRS = 200_000  # of a component; HiGHS would take hours for more


def prove(
    graph: Graph, members: Ints, starts: Ints, iterations: Ints, exemplar: Ints, value: Floats, seconds: float
) -> None:
    """Replace the solution of every component that is not proven best yet by the optimum.

    Args:
        graph, members, starts: as for :func:`torch_growl.mathematics.clustering._affinity.solve`.
        iterations, exemplar, value: what ``solve`` returned; the last two are changed for better solutions.
        seconds: the time limit of one component.

    Raises:
        InvalidValueError: a component is too large, or its time limit passed.
    """
    state = new_state(len(graph.own))
    for c in np.flatnonzero(iterations):
        mine = members[starts[c] : starts[c + 1]]
        pairs = int((graph.indptr[mine + 1] - graph.indptr[mine]).sum()) // 2
        what = f"a component of {len(mine)} distinct rows with {pairs} similar pairs"
        do = "raise preference, which makes smaller components, or use method='affinity'"
        if pairs > _PAIRS:
            raise InvalidValueError(f"method='exact' takes at most {_PAIRS} similar pairs, but there is {what}; {do}")
        best = optimum(mine, graph, seconds)
        if best is None:
            raise InvalidValueError(f"{what} could not be solved exactly within {seconds:g} s; raise time_limit, {do}")
        state.chosen[mine] = False
        state.chosen[best] = True
        use(mine, graph, state)
        if net_similarity(mine, graph, state) > value[c]:
            value[c] = settle_owners(mine, graph, state, exemplar)


def optimum(members: Ints, graph: Graph, seconds: float) -> Ints | None:
    """Return the best exemplars of the component ``members`` (ascending), or None if the time limit passed.

    They are best up to HiGHS's tolerance, 1e-6 of J.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    m = len(members)
    degrees = graph.indptr[members + 1] - graph.indptr[members]
    row = np.repeat(np.arange(m), degrees)
    entries = np.repeat(graph.indptr[members] - np.cumsum(degrees) + degrees, degrees) + np.arange(degrees.sum())
    gain = graph.copies[members][row] * graph.values[entries]
    own = graph.own[members]
    useful = gain > own[row]
    row, gain = row[useful], gain[useful]
    column = np.searchsorted(members, graph.indices[entries[useful]])
    x = m + np.arange(len(row))  # y first
    served = coo_array((np.ones(m + len(x)), (np.concatenate([np.arange(m), row]), np.concatenate([np.arange(m), x]))))
    opened = coo_array(
        (np.repeat([1.0, -1.0], len(x)), (np.tile(np.arange(len(x)), 2), np.concatenate([x, column]))),
        shape=(len(x), m + len(x)),
    )
    found = milp(
        -np.concatenate([own, gain]),
        integrality=np.repeat([1, 0], [m, len(x)]),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(served.tocsr(), 1, 1), LinearConstraint(opened.tocsr(), -np.inf, 0)],
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if found.status != 0:
        return None
    best: Ints = members[found.x[:m] > 0.5]
    return best
