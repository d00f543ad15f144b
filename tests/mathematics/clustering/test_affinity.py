"""Affinity propagation on a sparse graph: against scikit-learn, convergence, precision, determinism."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.cluster import affinity_propagation

from tests.support.component_graph import gains, graph_of, random_graph
from tests.support.rows import grouped_rows
from torch_growl.mathematics.clustering._affinity import _all_served, propagate, solve
from torch_growl.mathematics.clustering._local_search import Graph
from torch_growl.mathematics.similarity.dense import row_similarity


def spread(graph: Graph, max_iter: int = 1000, damping: float = 0.9, kind: type = np.float32) -> tuple[int, list[int]]:
    n = len(graph.own)
    chosen = np.zeros(n, np.bool_)
    took = propagate(np.arange(n), graph, damping, max_iter, np.empty(n, kind), np.empty((2, n)), chosen)
    return took, np.flatnonzero(chosen).tolist()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_where_every_pair_is_known_it_is_affinity_propagation(seed: int, kind: type) -> None:
    W = grouped_rows(60, 4, 0.3, 8, seed=seed).abs()
    graph = graph_of(W, 0.05)[0]
    assert len(graph.indices) == 60 * 59
    S = gains(graph)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs, _, iterations = affinity_propagation(
            S, preference=0.05, damping=0.9, max_iter=1000, random_state=0, return_n_iter=True
        )
    took, ours = spread(graph, kind=kind)
    label = S[:, ours].argmax(axis=1)
    label[ours] = np.arange(len(ours))
    groups = [np.flatnonzero(label == g) for g in range(len(ours))]  # scikit-learn re-centres them at the end
    assert {int(g[S[np.ix_(g, g)].sum(axis=0).argmax()]) for g in groups} == set(theirs.tolist())
    assert abs(took - iterations) <= 2


def test_non_convergence_is_returned() -> None:
    graph = graph_of(grouped_rows(60, 4, 0.5, 8, seed=0), 0.2)[0]
    took, _ = spread(graph)
    assert took > 15
    for max_iter, converged in ((1, False), (15, False), (took - 1, False), (took, True), (took + 1, True)):
        assert (spread(graph, max_iter)[0] == took) == converged
        assert (spread(graph, max_iter)[0] == -1) != converged


def test_it_has_not_converged_while_a_row_has_no_exemplar() -> None:
    graph, members = random_graph(3, 40), np.arange(40)
    G = gains(graph)
    rng = np.random.default_rng(0)
    seen = set()
    for size in range(1, 41):
        chosen = np.isin(members, rng.choice(40, size, replace=False))
        served = bool((chosen | np.isfinite(G[:, chosen]).any(axis=1)).all())
        assert _all_served(members, graph, chosen) == served
        seen.add(served)
    assert seen == {False, True}
    for seed in range(5):
        graph = random_graph(seed, 40, noise=0.2)
        took, E = spread(graph)
        assert took > 15
        assert _all_served(members, graph, np.isin(members, E))


@pytest.mark.slow
def test_single_precision_does_no_harm() -> None:
    """Same objective from float32 messages as from float64 ones, to the last digit, wherever both are improved."""
    for seed in range(6):
        graph, members, starts = graph_of(grouped_rows(150, 5, 0.3, 3, seed=seed), 0.6)
        single = solve(graph, members, starts, damping=0.9, max_iter=1000, messages=np.float32)
        double = solve(graph, members, starts, damping=0.9, max_iter=1000, messages=np.float64)
        assert single[1].sum() == pytest.approx(double[1].sum(), abs=1e-9)
        assert (single[2] < 0).sum() == (double[2] < 0).sum() == 0


def test_it_is_deterministic() -> None:
    graph, members, starts = graph_of(grouped_rows(200, 200, 0.0, 3, seed=0), 0.5)
    first, second = (solve(graph, members, starts, damping=0.9, max_iter=1000) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_similarity_of_the_graph_is_that_of_rows() -> None:
    W = grouped_rows(40, 4, 0.3, 4)
    graph = graph_of(W, 0.5)[0]
    known = gains(graph)
    S = row_similarity(W)
    assert np.sort(known[np.isfinite(known) & (np.eye(40) == 0)]).tolist() == pytest.approx(
        sorted(S[(S >= 0.5) & ~torch.eye(40, dtype=torch.bool)].tolist()), abs=1e-14
    )
