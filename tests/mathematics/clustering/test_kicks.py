"""Kicks out of local optima: they never lose, and they find better solutions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.component_graph import J, gains, graph_of, optimum, random_graph, state_of
from tests.support.rows import grouped_rows
from torch_growl.mathematics.clustering._kicks import shake
from torch_growl.mathematics.clustering._local_search import greedy, improve

N = 15


@pytest.mark.parametrize("seed", range(6))
def test_kicks_never_lose_and_find_the_optimum_from_a_poor_start(seed: int) -> None:
    graph, members = random_graph(seed, N, copies=1), np.arange(N)
    state = state_of(graph, members, np.array([seed]))
    start = improve(members, graph, state)
    scratch = np.empty(N, np.bool_), np.empty(N, np.int64), np.empty(4 * N, np.int64)
    end = shake(members, graph, state, *scratch, 100_000)
    assert end == pytest.approx(J(graph, np.flatnonzero(state.chosen)), abs=1e-12)
    assert end >= start - 1e-12
    assert end == pytest.approx(optimum(gains(graph)), abs=1e-9)
    assert not scratch[0].any()


def test_kicks_leave_local_optima() -> None:
    """Where local search alone is not enough, in some of these cases."""
    left = 0
    for seed in range(12):
        graph, members, _ = graph_of(grouped_rows(60, 60, 0.0, 2, seed=seed), 0.3)
        state = state_of(graph, members, members)
        greedy(members, graph, state.chosen)
        start = improve(members, graph, state)
        scratch = np.empty(60, np.bool_), np.empty(60, np.int64), np.empty(240, np.int64)
        left += shake(np.sort(members), graph, state, *scratch, 200_000) > start + 1e-9
    assert left >= 3
