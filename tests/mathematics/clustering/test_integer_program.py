"""The proven optimum: the results and the errors of method="exact"."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.clusterings import assert_clustering, best_net_similarity
from tests.support.component_graph import J, graph_of
from tests.support.rows import grouped_rows
from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.clustering._affinity import solve
from torch_growl.mathematics.clustering._integer_program import prove
from torch_growl.mathematics.clustering.clusters import cluster_rows


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_exact_is_the_optimum(seed: int) -> None:
    W = grouped_rows(15, 1 + seed % 2, 0.4, 3, seed=seed)
    W = torch.cat([W, W[:2]])
    for preference in (0.05, 0.4, 0.7):
        found = cluster_rows(W, preference, method="exact")
        assert_clustering(W, found, preference)
        assert found.objective == pytest.approx(best_net_similarity(W, preference), abs=1e-9)
        assert found.converged


@pytest.mark.parametrize(("n", "d", "noise", "preference"), [(60, 2, 1.0, 0.6), (80, 4, 0.5, 0.8), (97, 4, 0.1, 0.6)])
def test_exact_is_never_below_the_default_which_is_near(n: int, d: int, noise: float, preference: float) -> None:
    W = grouped_rows(n, 3, noise, d, seed=1)
    best, found = cluster_rows(W, preference, method="exact"), cluster_rows(W, preference)
    assert_clustering(W, best, preference)
    assert found.objective <= best.objective + 1e-9
    assert found.objective >= 0.999 * best.objective


def test_the_proof_mends_a_poor_solution() -> None:
    W = grouped_rows(60, 3, 1.0, 2, seed=1)
    graph, members, starts = graph_of(W, 0.6)
    _, value, iterations = solve(graph, members, starts, damping=0.9, max_iter=1000)
    assert (iterations != 0).any()
    best = value.sum()
    poor, value = np.arange(60), np.add.reduceat(graph.own[members], starts[:-1])
    prove(graph, members, starts, np.ones_like(iterations), poor, value, 60.0)
    assert value.sum() == pytest.approx(best, abs=1e-6)
    assert (poor != np.arange(60)).any()
    assert value.sum() == pytest.approx(J(graph, np.unique(poor), members), abs=1e-9)


@pytest.mark.slow
def test_exact_refuses_components_that_are_too_large() -> None:
    W = grouped_rows(700, 1, 0.3, 4)
    with pytest.raises(InvalidValueError, match=r"at most 200000 similar .* of 700 distinct rows with 2.*raise"):
        cluster_rows(W, 0.3, method="exact")
    W = grouped_rows(150, 2, 0.4, 4)
    with pytest.raises(InvalidValueError, match=r"of \d+ distinct rows.* not be solved exactly within 0.001 s"):
        cluster_rows(W, 0.3, method="exact", time_limit=0.001)
