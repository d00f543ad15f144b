"""Kicks out of local optima: the groups about one row are dissolved and rebuilt, and the result is kept if J grew.

Used by :mod:`torch_growl.mathematics.clustering._affinity`; the problem and the state are those of
:mod:`torch_growl.mathematics.clustering._local_search`. This is an iterated local search with local cost: after a kick
only rows near a change are examined again, and a kick that led to no gain is undone flip by flip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from torch_growl.mathematics.clustering._local_search import Graph, State, come, flip, improve, least_gain
from torch_growl.mathematics.compiled.compilation import jit

__all__ = ["shake", "unlike"]

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_NOTICED = 1e-9  # a gain from which patience starts again


@jit
def unlike(number: int) -> np.uint64:
    """Map an integer to a pseudo-random 64-bit number (splitmix64)."""
    z = np.uint64(number) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@jit
def shake(members: Ints, graph: Graph, state: State, queued: Flags, queue: Ints, log: Ints, patience: int) -> float:
    """Kick the set ``chosen`` and improve it by local search, repeatedly; returns J of the component at the end.

    A kick flips a random row and drops the exemplars similar to it: all of them, or each with probability ½.

    Args:
        members: ``(m,)``, ascending; the state must agree with ``chosen``, and does so afterwards.
        queued, queue: ``(n,)``, scratch.
        log: scratch; its length is the largest number of flips after one kick.
        patience: the number of pairs read without a gain after which the search ends.
    """
    m = len(members)
    least = least_gain(members, graph)
    for i in members:
        queued[i] = False
    state.work[0] = 0
    since, kick = 0, 0
    while state.work[0] - since < patience:
        kick += 1
        c = members[np.int64(unlike(2 * kick) >> np.uint64(33)) % m]
        begin, degree = graph.indptr[c], graph.indptr[c + 1] - graph.indptr[c]
        turn = np.int64(unlike(2 * kick + 1) >> np.uint64(33)) % degree
        state.work[0] += degree
        flips, waiting, head = 0, 0, 0
        change = 0.0
        t = -1
        while flips + 2 <= len(log):
            first, then = -1, -1
            if t < degree:  # the kick itself
                if t < 0:
                    first = c
                elif state.chosen[graph.indices[begin + t]] and (
                    kick % 2 == 0 or unlike(kick + (t << 32)) & np.uint64(1) == np.uint64(1)
                ):
                    first = graph.indices[begin + t]
                t += 1
            elif waiting > 0:  # gains near the flipped rows
                k = queue[head]
                head = (head + 1) % m
                waiting -= 1
                queued[k] = False
                if not state.chosen[k]:
                    gain, instead = come(k, graph, state)
                    if gain > least:
                        first, then = k, instead
                elif state.loss[k] > least:
                    first = k
            else:
                break
            for k in (first, then):
                if k < 0:
                    continue
                change += flip(k, graph, state)
                log[flips] = k
                flips += 1
                near = graph.indptr[k + 1] - graph.indptr[k]
                for e in range(-1, near):  # from another start each time, as the first gain is taken
                    i = k if e < 0 else graph.indices[graph.indptr[k] + (e + turn) % near]
                    if not queued[i]:
                        queued[i] = True
                        queue[(head + waiting) % m] = i
                        waiting += 1
        for w in range(waiting):
            queued[queue[(head + w) % m]] = False
        if change > _NOTICED:
            since = state.work[0]
        elif change < -least:
            for w in range(flips - 1, -1, -1):
                flip(log[w], graph, state)
    return improve(members, graph, state)
