"""The graph that components are solved on, and J by its definition: for the tests of the search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from torch_growl.mathematics.clustering._affinity import components, new_state
from torch_growl.mathematics.clustering._local_search import Graph, State, use
from torch_growl.mathematics.similarity.sparse import similar_pairs

Ints = NDArray[np.int64]


def graph_of(W: Tensor, preference: float, copies: Ints | None = None) -> tuple[Graph, Ints, Ints]:
    """The similar pairs of distinct rows, and the components: members, starts."""
    pairs = similar_pairs(W, preference)
    m = (np.ones(len(W)) if copies is None else copies[pairs.order]).astype(np.float64)
    graph = Graph(pairs.indptr, pairs.indices, pairs.values, m, preference + m - 1)
    return graph, *components(graph)


def dense(graph: Graph) -> NDArray[np.float64]:
    """G, −inf where a pair is not known, own on the diagonal."""
    n = len(graph.own)
    G = np.full((n, n), -np.inf)
    for i in range(n):
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            G[i, graph.indices[e]] = graph.copies[i] * graph.values[e]
    np.fill_diagonal(G, graph.own)
    return G


def plain(graph: Graph, members: Ints, E: Ints) -> list[float]:
    """What each member counts if E are the exemplars, and who none of them serves better is one too."""
    G = dense(graph)
    own = graph.own
    return [own[i] if i in set(E.tolist()) else max([own[i], *G[i, E]]) for i in members]


def state_of(graph: Graph, members: Ints, E: Ints) -> State:
    """The search's state with exemplars E."""
    state = new_state(len(graph.own))
    state.chosen[E] = True
    use(members, graph, state)
    return state
