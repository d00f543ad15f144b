"""The proven optimum of a component for which all sets of exemplars that could be best can be tried.

Used by :mod:`torch_growl.mathematics.clustering._affinity`; the problem and the graph are those of
:mod:`torch_growl.mathematics.clustering._local_search`. Either all sets of a few rows are tried, or, for a tight
component of any size, all sets that could beat a known one. With ``M_i`` the most that row i can count, ``J(E) ≤ Σ_i
M_i − Σ_{k∈E} (M_k − own_k)``: if rows are very similar, every exemplar costs nearly 1 − preference, and hardly any set
of more than two or three exemplars is left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from torch_growl.mathematics.clustering._local_search import Graph
from torch_growl.mathematics.compiled.compilation import jit, jit_summing

__all__ = ["ALL", "try_all", "try_few"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

ALL = 12  # components up to this size are solved by trying every set of exemplars
_DEEPEST = 6


@jit
def _dense(members: Ints, graph: Graph, other: float) -> Floats:
    """Return the component's gains ``(m, m)``: ``other`` for a pair that is not known, own on the diagonal."""
    m = len(members)
    G = np.full((m, m), other)
    for t in range(m):
        i = members[t]
        G[t, t] = graph.own[i]
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            G[t, np.searchsorted(members, graph.indices[e])] = graph.copies[i] * graph.values[e]
    return G


@jit
def try_all(members: Ints, graph: Graph, table: Floats, chosen: Flags) -> None:
    """Choose the optimum of a component of up to ``ALL`` rows; of equally good sets, one of the smallest.

    Args:
        table: ``(2^ALL, ALL)``, scratch: for each set, each row's best gain from the set.
    """
    m = len(members)
    G = _dense(members, graph, -np.inf)
    table[0, :m] = -np.inf
    value = np.full(1 << m, -np.inf)
    top = -np.inf
    for some in range(1, 1 << m):
        last = 0
        while not (some >> last) & 1:
            last += 1
        rest = some & (some - 1)
        total = 0.0
        for t in range(m):
            table[some, t] = max(table[rest, t], G[t, last])
            total += G[t, t] if (some >> t) & 1 else table[some, t]
        value[some] = total
        top = max(top, total)
    found, size = 0, m + 1
    for some in range(1, 1 << m):
        if top - value[some] <= 1e-12 * m:
            bits = 0
            for t in range(m):
                bits += (some >> t) & 1
            if bits < size:
                found, size = some, bits
    for t in range(m):
        chosen[members[t]] = (found >> t) & 1


@jit_summing
def _better(a: Floats, b: Floats, out: Floats) -> float:
    total = 0.0
    for t in range(len(out)):
        out[t] = b[t] if b[t] > a[t] else a[t]
        total += out[t]
    return total


@jit
def try_few(members: Ints, graph: Graph, chosen: Flags, known: float, work: int) -> bool:
    """Set ``chosen`` to the optimum, if the sets that could beat ``known`` are few enough to try.

    Args:
        chosen: ``(n,)``; unchanged if no set beats ``known``, which is then the optimum.
        known: J of ``chosen``.
        work: the largest number of additions.

    Returns:
        Whether ``chosen`` is now proven best (to 1e-12 of J).
    """
    m = len(members)
    cost = np.empty(m)
    spare = -known
    for t in range(m):
        i = members[t]
        most = graph.own[i]
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            most = max(most, graph.copies[i] * graph.values[e])
        cost[t] = most - graph.own[i]
        spare += most
    spare *= 1 - 1e-12
    order = np.argsort(cost)
    least, deepest, sets = 0.0, 0, 1.0
    while deepest < m and least + cost[order[deepest]] <= spare:  # the most exemplars that a better set can have
        least += cost[order[deepest]]
        deepest += 1
        sets *= (m - deepest + 1) / deepest
        if deepest > _DEEPEST or sets * m > work:
            return False
    if deepest == 0:
        return True
    G = _dense(members, graph, -np.inf).T.copy()  # column k, the gains from k, in contiguous memory
    best = np.empty((deepest + 1, m))
    for t in range(m):
        best[0, t] = graph.own[members[t]]  # alone
    picked, paid = np.full(deepest + 1, -1), np.zeros(deepest + 1)
    top, depth = known + 1e-12 * m, 1
    while depth > 0:  # depth first; picked[1 … depth] are places in the order of cost, ascending
        picked[depth] += 1
        at = picked[depth]
        if at >= m or paid[depth - 1] + cost[order[at]] > spare:
            depth -= 1
            continue
        k = order[at]
        paid[depth] = paid[depth - 1] + cost[k]
        total = _better(best[depth - 1], G[k], best[depth])
        for d in range(1, depth + 1):  # an exemplar counts own, even if another would serve it better
            e = order[picked[d]]
            total -= best[depth, e] - graph.own[members[e]]
        if total > top:
            top = total
            for t in range(m):
                chosen[members[t]] = False
            for d in range(1, depth + 1):
                chosen[members[order[picked[d]]]] = True
        if depth < deepest:
            picked[depth + 1] = at
            depth += 1
    return True
