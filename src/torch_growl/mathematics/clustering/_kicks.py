"""Out of local optima: the groups about one row are taken apart, put together anew near by, and kept if J grew.

It stands under :mod:`torch_growl.mathematics.clustering._affinity`; the problem and the state are those of
:mod:`torch_growl.mathematics.clustering._local_search`. An iterated local search whose steps cost what they touch:
after a kick only rows near a change are looked at again, and a kick that led to nothing is undone flip by flip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from torch_growl.mathematics.clustering._local_search import Graph, State, come, flip, improve, least_gain
from torch_growl.mathematics.compiled.compilation import jit

__all__ = ["shake", "unlike"]

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_NOTICED = 1e-9  # a gain that is worth more patience


@jit
def unlike(number: int) -> np.uint64:
    """A 64-bit number for each whole one, as good as random (splitmix64)."""
    z = np.uint64(number) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@jit
def shake(members: Ints, graph: Graph, state: State, queued: Flags, queue: Ints, log: Ints, patience: int) -> float:
    """Kick the set ``chosen`` and let local search repair it, again and again; returns what the component then counts.

    A kick flips a random row and drops the exemplars similar to it: all of them, or each with an even chance.

    Args:
        members: ``(m,)``, ascending; the state must be in line with ``chosen``, and is so afterwards.
        queued, queue: ``(n,)``, scratch. log: scratch; no more than its length is flipped after one kick.
        patience: pairs looked at without a gain before it ends.
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
            elif waiting > 0:  # what pays near to what was flipped
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
                for e in range(-1, near):  # from another one on each time: the first that pays is taken
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
