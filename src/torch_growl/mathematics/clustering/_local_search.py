"""Which rows of one component are exemplars: a greedy choice and local search.

It stands under :mod:`torch_growl.mathematics.clustering._affinity`. The problem: choose a non-empty set E of the
component's distinct rows, row i standing for m_i bit-equal ones, that maximises

    J(E) = Σ_{k∈E} (preference + m_k − 1) + Σ_{i∉E} m_i max_{k∈E} S(i, k):

an exemplar counts as the preference, its m_k − 1 copies are as similar to it as can be. Bit-equal rows belong to one
group in every optimum (preference ≤ 1), so this is the problem over all rows. Written below with the gains
``G(i, k) = m_i S(i, k)`` and ``own(k) = preference + m_k − 1``. Only pairs with S ≥ preference are known: any other has
``G(i, k) ≤ own(i)``, so row i is at least as well off as an exemplar itself.

The search therefore takes a row that no exemplar serves better than ``own`` as *alone*, which gives every set a value,
the same as J of the set with the lonely rows added.
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
    """Similar pairs of n distinct rows, both ways round (``similarity.sparse.SimilarPairs``), and what rows count.

    ``copies`` is m, ``own`` is preference + m − 1, both ``(n,)`` float64.
    """

    indptr: Ints
    indices: Ints32
    values: Floats
    copies: Floats
    own: Floats


class State(NamedTuple):
    """Where a search stands: every array is ``(n,)``, and only the searched component's places are used.

    ``best`` is what a row counts now and ``owner`` the exemplar that gives it (itself, or −1: alone), ``second`` what
    it would count without that exemplar, and ``loss`` what dropping an exemplar adds, ≤ 0 mostly. ``change`` and
    ``touched`` are scratch.
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
    """Find row i's best and second best among the exemplars."""
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
    """The same, keeping ``loss`` right; returns by how much the row's part of J changes."""
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
    """Bring the state in line with ``chosen``."""
    for i in members:
        state.loss[i] = 0.0
        state.change[i] = 0.0
    for i in members:
        _look(i, graph, state)
        if state.owner[i] != _ALONE:
            state.loss[state.owner[i]] += state.second[i] - state.best[i]


@jit
def flip(k: int, graph: Graph, state: State) -> float:
    """Make row k an exemplar, or no longer one; returns what that adds to J."""
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
    """The most that making row k an exemplar can gain, alone or instead of another, and that other one or −1.

    Instead of an exemplar that serves none of k's similar rows, nor k, is no more than to drop that one and to add k.
    """
    state.work[0] += graph.indptr[k + 1] - graph.indptr[k]
    n_touched = 0
    add = graph.own[k] - state.best[k]
    o = state.owner[k]
    if o != _ALONE:  # k itself loses nothing when its exemplar goes
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
    """What rounding could do, and so is no gain."""
    rows = 0.0
    for i in members:
        rows += graph.copies[i]
    return 1e-12 + 1e-14 * rows


@jit
def improve(members: Ints, graph: Graph, state: State) -> float:
    """Drop, add and swap exemplars from ``chosen`` on, as long as it pays; returns what the component then counts.

    At the end, no row could be dropped, added or exchanged for another with gain. Re-centring a group is a swap.
    """
    least = least_gain(members, graph)
    for _ in range(_ROUNDS):
        use(members, graph, state)  # anew, so that rounding does not add up
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
    """J of what ``chosen`` says, lonely rows being exemplars; the state must be in line with it."""
    total = 0.0
    for i in members:
        total += state.best[i]
    return total


@jit
def greedy(members: Ints, graph: Graph, chosen: Flags) -> None:
    """Leaders: rows by how much the others gain from them; whoever no earlier leader serves well enough is one."""
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
    """Write each row's exemplar, lonely rows being exemplars too; returns J."""
    for i in members:
        if state.owner[i] == _ALONE:
            state.chosen[i] = True
    use(members, graph, state)
    for i in members:
        exemplar[i] = state.owner[i]
    return net_similarity(members, graph, state)
