"""The graph on which components are solved, J by its definition, and the optimum by trying every set of exemplars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tests.support.rows import grouped_rows
from torch_growl.mathematics.clustering._affinity import components, new_state
from torch_growl.mathematics.clustering._local_search import Graph, State, use
from torch_growl.mathematics.similarity.sparse import similar_pairs

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def graph_of(W: Tensor, preference: float, copies: Ints | None = None) -> tuple[Graph, Ints, Ints]:
    """The similar pairs of distinct rows, and the components: members, starts."""
    pairs = similar_pairs(W, preference)
    m = (np.ones(len(W)) if copies is None else copies[pairs.order]).astype(np.float64)
    graph = Graph(pairs.indptr, pairs.indices, pairs.values, m, preference + m - 1)
    return graph, *components(graph)


def random_graph(seed: int, n: int, noise: float = 0.5, preference: float = 0.4, copies: int = 3) -> Graph:
    """The graph of n rows about three centres, each row standing for up to ``copies`` rows."""
    m = np.random.default_rng(seed).integers(1, copies + 1, n)
    return graph_of(grouped_rows(n, 3, noise, 4, seed=seed), preference, m)[0]


def gains(graph: Graph) -> Floats:
    """G as a matrix: −inf for a pair that is not known, own on the diagonal."""
    n = len(graph.own)
    G = np.full((n, n), -np.inf)
    for i in range(n):
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            G[i, graph.indices[e]] = graph.copies[i] * graph.values[e]
    np.fill_diagonal(G, graph.own)
    return G


def J(graph: Graph, E: Ints, members: Ints | None = None) -> float:
    """J of the exemplars E over the members (default: all rows); a row that no exemplar serves better is one too."""
    G, own = gains(graph), graph.own
    rows = range(len(own)) if members is None else members
    return sum(float(own[i] if i in set(E.tolist()) else max([own[i], *G[i, E]])) for i in rows)


def optimum(G: Floats) -> float:
    """The largest J of all sets of exemplars, for gains G with own on the diagonal; up to some eighteen rows."""
    n = len(G)
    if n == 0:
        return 0.0
    sets = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1 == 1
    best = np.full(sets.shape, -np.inf)
    for k in range(n):
        best = np.where(sets[:, k : k + 1], np.maximum(best, G[:, k]), best)
    return float(np.where(sets, G.diagonal(), best).sum(axis=1).max())


def state_of(graph: Graph, members: Ints, E: Ints) -> State:
    """The search's state with exemplars E."""
    state = new_state(len(graph.own))
    state.chosen[E] = True
    use(members, graph, state)
    return state
