"""The choice of the exemplars of one component: a greedy choice and local search.

Used by :mod:`torch_growl.mathematics.clustering._affinity`. The problem is to choose a non-empty set E of the
component's distinct rows, row i standing for m_i bit-equal ones, that maximises

    J(E) = Σ_{k∈E} (preference + m_k − 1) + Σ_{i∉E} m_i max_{k∈E} S(i, k):

an exemplar counts the preference, and each of its m_k − 1 copies counts 1. Bit-equal rows belong to one group in every
optimum (preference ≤ 1), so this is the problem over all rows. Below, the gains are ``G(i, k) = m_i S(i, k)`` and
``own(k) = preference + m_k − 1``. Only pairs with S ≥ preference are known: any other has ``G(i, k) ≤ own(i)``, so
row i counts at least as much when it is an exemplar itself.

The search therefore treats a row that gains no more than ``own`` from any exemplar as *alone*, which gives every set a
value: J of the set with the rows that are alone added.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torch_growl.mathematics.compiled.compilation import jit

__all__ = [
    "Graph",
    "State",
    "come",
    "flip",
    "greedy",
    "improve",
    "least_gain",
    "net_similarity",
    "settle_owners",
    "use",
]

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ROUNDS = 200  # of local search: it ends much earlier
_ALONE = -1


class Graph(NamedTuple):
    """The similar pairs of n distinct rows, in both directions (``similarity.sparse.SimilarPairs``), and their weights.

    ``copies`` is m, ``own`` is preference + m − 1, both ``(n,)`` float64.
    """

    indptr: Ints
    indices: Ints32
    values: Floats
    copies: Floats
    own: Floats


class State(NamedTuple):
    """The state of a search: every array but ``work`` is ``(n,)``; only the places of the component are used.

    ``best`` is what a row counts now, ``owner`` the exemplar that gives it (the row itself, or −1: alone), ``second``
    what the row would count without that exemplar, ``runner`` the exemplar that would give it, and ``loss`` what
    dropping an exemplar adds to J, mostly ≤ 0. ``change`` and ``touched`` are scratch; ``work[0]`` counts pairs read.
    """

    chosen: Flags
    best: Floats
    second: Floats
    owner: Ints32
    runner: Ints32
    loss: Floats
    change: Floats
    touched: Ints32
    work: Ints


@jit
def _look(i: int, graph: Graph, state: State) -> None:
    """Find the best and the second best exemplar of row i."""
    own = graph.own[i]
    best, second, owner, runner = own, own, _ALONE, _ALONE
    if state.chosen[i]:
        owner = i
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            k = graph.indices[e]
            if state.chosen[k] and graph.copies[i] * graph.values[e] > second:
                second, runner = graph.copies[i] * graph.values[e], k
    else:
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            k = graph.indices[e]
            if not state.chosen[k]:
                continue
            gain = graph.copies[i] * graph.values[e]
            if gain > best or (owner == _ALONE and gain == best):
                best, second, owner, runner = gain, best, k, owner
            elif gain > second:
                second, runner = gain, k
    state.best[i], state.second[i], state.owner[i], state.runner[i] = best, second, owner, runner


@jit
def _look_again(i: int, graph: Graph, state: State) -> float:
    """Find the exemplars of row i again and update ``loss``; returns the change of the row's part of J."""
    before = state.best[i]
    if state.owner[i] != _ALONE:
        state.loss[state.owner[i]] -= state.second[i] - before
    _look(i, graph, state)
    if state.owner[i] != _ALONE:
        state.loss[state.owner[i]] += state.second[i] - state.best[i]
    state.work[0] += graph.indptr[i + 1] - graph.indptr[i]
    change: float = state.best[i] - before
    return change


@jit
def use(members: Ints, graph: Graph, state: State) -> None:
    """Compute the state of the set ``chosen``."""
    for i in members:
        state.loss[i] = 0.0
        state.change[i] = 0.0
    for i in members:
        _look(i, graph, state)
        if state.owner[i] != _ALONE:
            state.loss[state.owner[i]] += state.second[i] - state.best[i]


@jit
def flip(k: int, graph: Graph, state: State) -> float:
    """Add row k to the exemplars, or drop it; returns the change of J."""
    comes = not state.chosen[k]
    state.chosen[k] = comes
    gained = _look_again(k, graph, state)
    for e in range(graph.indptr[k], graph.indptr[k + 1]):
        i = graph.indices[e]
        affected = state.owner[i] == k or state.runner[i] == k
        if comes:
            affected = graph.copies[i] * graph.values[e] >= state.second[i]
        if affected:
            gained += _look_again(i, graph, state)
    return gained


@jit
def come(k: int, graph: Graph, state: State) -> tuple[float, int]:
    """Return the largest gain of making row k an exemplar, added or in place of another, and that other one or −1.

    Replacing an exemplar that serves neither k nor a row similar to k is not tried: it gains as much as two flips.
    """
    state.work[0] += graph.indptr[k + 1] - graph.indptr[k]
    n_touched = 0
    add = graph.own[k] - state.best[k]
    o = state.owner[k]
    if o != _ALONE:  # k itself loses nothing when its exemplar is dropped
        state.touched[n_touched] = o
        n_touched += 1
        state.change[o] -= state.second[k] - state.best[k]
    for e in range(graph.indptr[k], graph.indptr[k + 1]):
        i = graph.indices[e]
        gain = graph.copies[i] * graph.values[e]
        o = state.owner[i]
        extra = 0.0 if o == i else max(0.0, gain - state.best[i])
        add += extra
        if o != _ALONE and gain > state.second[i]:
            if state.change[o] == 0.0:
                state.touched[n_touched] = o
                n_touched += 1
            state.change[o] += gain - state.second[i] - extra
    most, instead = add, _ALONE
    for t in range(n_touched):
        o = state.touched[t]
        if add + state.loss[o] + state.change[o] > most:
            most, instead = add + state.loss[o] + state.change[o], o
    for t in range(n_touched):
        state.change[state.touched[t]] = 0.0
    return most, instead


@jit
def least_gain(members: Ints, graph: Graph) -> float:
    """Return a bound on rounding errors; a smaller gain is not counted as one."""
    rows = 0.0
    for i in members:
        rows += graph.copies[i]
    return 1e-12 + 1e-14 * rows


@jit
def improve(members: Ints, graph: Graph, state: State) -> float:
    """Drop, add and swap exemplars, starting from ``chosen``, while J grows; returns J of the component.

    At the end, no drop, addition or swap of one exemplar gains. Re-centring a group is a swap.
    """
    least = least_gain(members, graph)
    for _ in range(_ROUNDS):
        use(members, graph, state)  # computed again, so that rounding errors do not add up
        changed = False
        for k in members:
            if state.chosen[k]:
                if state.loss[k] > least:
                    flip(k, graph, state)
                    changed = True
                continue
            gain, instead = come(k, graph, state)
            if gain > least:
                flip(k, graph, state)
                if instead != _ALONE:
                    flip(instead, graph, state)
                changed = True
        if not changed:
            break
    return net_similarity(members, graph, state)


@jit
def net_similarity(members: Ints, graph: Graph, state: State) -> float:
    """Return J of the set ``chosen`` with the rows that are alone added; the state must agree with ``chosen``."""
    total = 0.0
    for i in members:
        total += state.best[i]
    return total


@jit
def greedy(members: Ints, graph: Graph, chosen: Flags) -> None:
    """Choose exemplars in the order of the others' gains from them: each row that no earlier one serves well enough."""
    useful = np.empty(len(members), np.float64)
    for t in range(len(members)):
        k = members[t]
        useful[t] = -graph.own[k]
        for e in range(graph.indptr[k], graph.indptr[k + 1]):
            i = graph.indices[e]
            useful[t] -= max(0.0, graph.copies[i] * graph.values[e] - graph.own[i])
        chosen[k] = False
    for t in np.argsort(useful, kind="mergesort"):
        k = members[t]
        served = False
        for e in range(graph.indptr[k], graph.indptr[k + 1]):
            if chosen[graph.indices[e]] and graph.copies[k] * graph.values[e] >= graph.own[k]:
                served = True
                break
        chosen[k] = not served


@jit
def settle_owners(members: Ints, graph: Graph, state: State, exemplar: Ints) -> float:
    """Write each row's exemplar, after making rows that are alone exemplars; returns J."""
    for i in members:
        if state.owner[i] == _ALONE:
            state.chosen[i] = True
    use(members, graph, state)
    for i in members:
        exemplar[i] = state.owner[i]
    return net_similarity(members, graph, state)
