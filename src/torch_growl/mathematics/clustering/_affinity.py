"""Affinity propagation on a sparse graph, component by component, and the choice of the best solution.

Used by :mod:`torch_growl.mathematics.clustering.clusters`; the problem is stated in
:mod:`torch_growl.mathematics.clustering._local_search`. Messages (Frey and Dueck 2007, eq. 1 to 3; damped) pass along
the known pairs only: an unknown pair has gain −∞, which is exact, because it belongs to no optimum. With r the
responsibilities and a the availabilities,

    r(i, k) ← G(i, k) − max_{k'≠k} (a(i, k') + G(i, k')),    a(k, k) ← Σ_{i≠k} max(0, r(i, k)),
    a(i, k) ← min(0, r(k, k) + Σ_{i'∉{i,k}} max(0, r(i', k))),

and row k is an exemplar while a(k, k) + r(k, k) > 0. The messages of a pair are float32; sums, and the messages of a
row to itself, are float64. The local search that follows, in float64, removes the effect of the rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_growl.mathematics.clustering._enumeration import ALL, try_all, try_few
from torch_growl.mathematics.clustering._kicks import shake, unlike
from torch_growl.mathematics.clustering._local_search import Graph, State, greedy, improve, settle_owners, use
from torch_growl.mathematics.compiled.compilation import jit

__all__ = ["components", "new_state", "propagate", "solve"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Messages = NDArray[Any]  # float32 or float64

_STABLE = 15  # iterations without a change of exemplars until convergence, as in scikit-learn
_BOTH = 50_000  # entries of a component up to which kicks start from both solutions
_NOISE = 2.0**-16  # relative noise on the gains: breaks ties, on which propagation would oscillate


def new_state(n: int) -> State:
    """Allocate the state of a search over n rows."""
    floats, ints = np.zeros((4, n)), np.zeros((3, n), np.int32)
    work = np.zeros(1, np.int64)
    return State(np.zeros(n, np.bool_), floats[0], floats[1], ints[0], ints[1], floats[2], floats[3], ints[2], work)


def components(graph: Graph) -> tuple[Ints, Ints]:
    """Return the connected components: their rows, concatenated and ascending in each; where each begins."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n = len(graph.own)
    known = csr_array((graph.values, graph.indices, graph.indptr), shape=(n, n))
    number, component = connected_components(known, directed=False) if n else (0, np.empty(0, np.int64))
    members = np.argsort(component, kind="stable")
    return members, np.searchsorted(component[members], np.arange(number + 1))


def solve(
    graph: Graph,
    members: Ints,
    starts: Ints,
    *,
    damping: float,
    max_iter: int,
    messages: type = np.float32,
    effort: float = 1.0,
) -> tuple[Ints, Floats, Ints]:
    """Find good exemplars for every component.

    If all sets that could be best can be tried, this is the optimum
    (:mod:`torch_growl.mathematics.clustering._enumeration`). Else it is the better of affinity propagation and a greedy
    choice, each improved by local search and by kicks out of local optima. Deterministic.

    Args:
        graph: the graph of n distinct rows.
        members: ``(n,)``: the rows of each component, concatenated, ascending within it.
        starts: ``(n_components + 1,)``: where the components begin.
        messages: the type of the messages.
        effort: a factor on the number of kicks; 0: no kicks.

    Returns:
        Each row's exemplar; each component's J; the iterations of affinity propagation on each component: 0 if it was
        not needed, because the exemplars are proven best; −1 if it did not converge.
    """
    n, n_components = len(graph.own), len(starts) - 1
    exemplar, value, iterations = np.arange(n), np.empty(n_components), np.zeros(n_components, np.int64)
    q: Messages = np.empty(n, messages)
    state = new_state(n)
    _solve(graph, members, starts, damping, max_iter, effort, q, state, exemplar, value, iterations)
    return exemplar, value, iterations


@jit
def _solve(
    graph: Graph,
    members: Ints,
    starts: Ints,
    damping: float,
    max_iter: int,
    effort: float,
    q: Messages,
    state: State,
    exemplar: Ints,
    value: Floats,
    iterations: Ints,
) -> None:
    n = len(graph.own)
    table = np.empty((1 << ALL, ALL), np.float64)
    sums, queued, queue, log = np.empty((2, n)), np.empty(n, np.bool_), np.empty(n, np.int64), np.empty(4 * n, np.int64)
    for c in range(len(starts) - 1):
        mine = members[starts[c] : starts[c + 1]]
        m = len(mine)
        if m == 1:
            value[c] = graph.own[mine[0]]
            continue
        if m <= ALL:
            try_all(mine, graph, table, state.chosen)
        else:
            pairs = 0
            for i in mine:
                pairs += graph.indptr[i + 1] - graph.indptr[i]
            greedy(mine, graph, state.chosen)
            leading = improve(mine, graph, state)
            patience = _patience(m, pairs, _groups(mine, state))
            if not try_few(mine, graph, state.chosen, leading, 4 * patience):
                if pairs <= _BOTH:
                    leading = shake(mine, graph, state, queued, queue, log, int(effort * patience))
                kept, groups = state.chosen[mine], _groups(mine, state)
                iterations[c] = propagate(mine, graph, damping, max_iter, q, sums, state.chosen)
                spread = improve(mine, graph, state)
                if pairs <= _BOTH:
                    spread = shake(mine, graph, state, queued, queue, log, int(effort * patience))
                if spread < leading or (spread == leading and _groups(mine, state) >= groups):
                    for t in range(m):
                        state.chosen[mine[t]] = kept[t]
                    use(mine, graph, state)
                if pairs > _BOTH:
                    shake(mine, graph, state, queued, queue, log, int(effort * patience))
        use(mine, graph, state)
        value[c] = settle_owners(mine, graph, state, exemplar)


@jit
def _patience(rows: int, pairs: int, groups: int) -> int:
    """Return the number of pairs that kicks may read without a gain: more groups have more local optima."""
    return 2000 * rows + 20 * pairs + min(min(5 * groups**3, 1000) * pairs, 20_000_000)


@jit
def _groups(members: Ints, state: State) -> int:
    number = 0
    for i in members:
        number += state.owner[i] == i or state.owner[i] < 0
    return number


@jit
def _noise(number: int) -> float:
    return (np.float64(unlike(number) >> np.uint64(11)) * 2.0**-52 - 1.0) * _NOISE


@jit
def propagate(
    members: Ints,
    graph: Graph,
    damping: float,
    max_iter: int,
    messages: Messages,
    sums: Floats,
    chosen: Flags,
) -> int:
    """Run affinity propagation on one component.

    It has converged when for 15 iterations there was at least one exemplar, the exemplars did not change, and every row
    was an exemplar or similar to one.

    Args:
        members: the component's rows, ascending.
        messages: ``(n,)``, scratch of the messages' type.
        sums: ``(2, n)``, scratch.
        chosen: ``(n,)``, written for the members: the exemplars.

    Returns:
        The number of iterations, or −1 if it did not converge.
    """
    m, q = len(members), messages
    edges = 0
    for i in members:
        edges += graph.indptr[i + 1] - graph.indptr[i]
    gain = np.empty(edges, q.dtype)
    r, a = np.zeros(edges, q.dtype), np.zeros(edges, q.dtype)
    own, self_r, self_a = np.empty(m, np.float64), np.zeros(m, np.float64), np.zeros(m, np.float64)
    support, before = sums[0], sums[1]
    at = 0
    for t in range(m):
        i = members[t]
        own[t] = graph.own[i] * (1 + _noise(edges + t))
        support[i], before[i] = 0.0, 0.0
        chosen[i] = False
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            gain[at] = graph.copies[i] * graph.values[e] * (1 + _noise(at))
            at += 1
    numbers = np.zeros(5, q.dtype)  # a number assigned to one of these is of the messages' type
    numbers[0], numbers[1], numbers[2] = damping, 1 - damping, -np.inf
    keep, new, nothing, zero = numbers[0], numbers[1], numbers[2], numbers[3]
    stable = 0
    for iteration in range(1, max_iter + 1):
        for i in members:
            q[i] = before[i] + support[i]
            support[i] = 0.0
        at = 0
        for t in range(m):
            i = members[t]
            begin, degree = graph.indptr[i], graph.indptr[i + 1] - graph.indptr[i]
            end = at + degree
            to, R, A, gains = graph.indices[begin : begin + degree], r[at:end], a[at:end], gain[at:end]
            for e in range(degree):  # availabilities, from the last iteration's responsibilities
                others = q[np.uint32(to[e])] - (R[e] if R[e] > zero else zero)
                A[e] = keep * A[e] + new * (others if others < zero else zero)
            first, second, which = nothing, nothing, -1  # the two largest sums
            for e in range(degree):
                total = A[e] + gains[e]
                if total > second:
                    if total > first:
                        first, second, which = total, first, e
                    else:
                        second = total
            itself = self_a[t] + own[t]
            self_r[t] = damping * self_r[t] + (1 - damping) * (own[t] - first)
            numbers[4] = max(itself, first)
            most = numbers[4]
            for e in range(degree):
                R[e] = keep * R[e] + new * (gains[e] - most)
            if first >= itself:  # the largest is compared with the next
                numbers[4] = max(itself, second)
                R[which] += new * (most - numbers[4])
            for e in range(degree):
                if R[e] > zero:
                    support[to[e]] += R[e]
            at = end
        same, number = True, 0
        for t in range(m):
            i = members[t]
            self_a[t] = damping * self_a[t] + (1 - damping) * support[i]
            before[i] = self_r[t]
            now = self_a[t] + self_r[t] > 0
            same &= now == chosen[i]
            chosen[i] = now
            number += now
        stable = stable + 1 if same else 1
        if stable >= _STABLE and iteration >= _STABLE and number > 0 and _all_served(members, graph, chosen):
            return iteration
    return -1


@jit
def _all_served(members: Ints, graph: Graph, chosen: Flags) -> bool:
    for i in members:
        served = chosen[i]
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            if served:
                break
            served = chosen[graph.indices[e]]
        if not served:
            return False
    return True
