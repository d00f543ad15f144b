"""Components solved by trying every set of exemplars, or every set that could be best."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.component_graph import J, gains, optimum, random_graph, state_of
from torch_growl.mathematics.clustering._enumeration import ALL, try_all, try_few
from torch_growl.mathematics.clustering._local_search import greedy, net_similarity, use

N = 15


def all_sets(n: int) -> list[np.ndarray]:
    return [np.flatnonzero((some >> np.arange(n)) & 1) for some in range(1, 1 << n)]


@pytest.mark.parametrize("n", [2, 3, 7, ALL])
@pytest.mark.parametrize("seed", range(3))
def test_trying_all_finds_the_best_and_of_equals_the_fewest(n: int, seed: int) -> None:
    graph, members = random_graph(seed, n), np.arange(n)
    chosen = np.ones(n, dtype=bool)
    try_all(members, graph, np.empty((1 << ALL, ALL)), chosen)
    E = np.flatnonzero(chosen)
    assert J(graph, E) == pytest.approx(optimum(gains(graph)), abs=1e-12)
    if n <= 7:
        G = gains(graph)
        whole = [F for F in all_sets(n) if (np.delete(G[:, F].max(axis=1) - graph.own, F) >= 0).all()]
        assert len(E) == min(len(F) for F in whole if J(graph, F) >= J(graph, E) - 1e-12)


@pytest.mark.slow
def test_trying_few_is_right_if_it_claims_a_proof() -> None:
    proven = 0
    for seed in range(40):
        graph, members = (
            random_graph(seed, N, noise=0.05 * (seed % 8), preference=(0.3, 0.6, 0.8)[seed % 3]),
            np.arange(N),
        )
        best = optimum(gains(graph))
        state = state_of(graph, members, np.arange(N))
        greedy(members, graph, state.chosen)
        use(members, graph, state)
        before = state.chosen.copy()
        if try_few(members, graph, state.chosen, net_similarity(members, graph, state), 10**6):
            proven += 1
            assert J(graph, np.flatnonzero(state.chosen)) == pytest.approx(best, abs=1e-9)
        else:
            assert (state.chosen == before).all()
        assert not try_few(members, graph, state.chosen, J(graph, np.arange(N)), 10)
    assert 10 <= proven < 40
