"""The search for exemplars: every step does what it says, on graphs small enough to try everything."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.cluster import affinity_propagation
from torch import Tensor

from tests.support.component_graph import dense, graph_of, plain, state_of
from torch_growl.mathematics.clustering._affinity import _all_served, propagate, solve
from torch_growl.mathematics.clustering._enumeration import ALL, try_all, try_few
from torch_growl.mathematics.clustering._kicks import shake
from torch_growl.mathematics.clustering._local_search import (
    Graph,
    come,
    flip,
    greedy,
    improve,
    net_similarity,
    settle_owners,
    use,
)
from torch_growl.mathematics.similarity.dense import row_similarity

N = 15


def rows(n: int, groups: int, noise: float, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, d, generator=generator, dtype=torch.float64)
    return centres[torch.arange(n) % groups] + noise * torch.randn(n, d, generator=generator, dtype=torch.float64)


def some_graph(seed: int, n: int = N, noise: float = 0.5, preference: float = 0.4, copies: int = 3) -> Graph:
    m = np.random.default_rng(seed).integers(1, copies + 1, n)
    return graph_of(rows(n, 3, noise, 4, seed), preference, m)[0]


def J(graph: Graph, E: np.ndarray) -> float:
    return sum(plain(graph, np.arange(len(graph.own)), E))


def all_sets(n: int) -> list[np.ndarray]:
    return [np.flatnonzero((some >> np.arange(n)) & 1) for some in range(1, 1 << n)]


def best_of_all(graph: Graph) -> float:
    """The largest J of all sets, by one table."""
    G, n = dense(graph), len(graph.own)
    sets = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1 == 1
    best = np.full(sets.shape, -np.inf)
    for k in range(n):
        best = np.where(sets[:, k : k + 1], np.maximum(best, G[:, k]), best)
    return float(np.where(sets, graph.own, best).sum(axis=1).max())


@pytest.mark.parametrize("seed", range(8))
def test_the_state_is_what_its_definition_says_through_any_flips(seed: int) -> None:
    graph, members = some_graph(seed), np.arange(N)
    rng = np.random.default_rng(seed)
    E = rng.choice(N, 4, replace=False)
    state = state_of(graph, members, E)
    assert net_similarity(members, graph, state) == pytest.approx(J(graph, E), abs=1e-12)
    for k in rng.integers(0, N, 40):
        before = J(graph, np.flatnonzero(state.chosen))
        change = flip(int(k), graph, state)
        E = np.flatnonzero(state.chosen)
        assert before + change == pytest.approx(J(graph, E), abs=1e-12)
        fresh = state_of(graph, members, E)
        for mine, theirs in ((state.best, fresh.best), (state.second, fresh.second), (state.loss, fresh.loss)):
            np.testing.assert_allclose(mine, theirs, atol=1e-12)
        for k in E:
            assert state.loss[k] == pytest.approx(J(graph, E[k != E]) - J(graph, E), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_the_gain_of_a_coming_exemplar_is_the_best_there_is(seed: int) -> None:
    graph, members = some_graph(seed), np.arange(N)
    E = np.random.default_rng(seed).choice(N, 1 + seed % 5, replace=False)
    state = state_of(graph, members, E)
    seen = 0
    for k in range(N):
        if k in E:
            continue
        gain, instead = come(k, graph, state)
        after = np.append(E if instead < 0 else E[instead != E], k)
        assert J(graph, after) - J(graph, E) == pytest.approx(gain, abs=1e-12)
        assert not state.change.any()
        add = J(graph, np.append(E, k)) - J(graph, E)
        for out in E:
            swap = J(graph, np.append(E[out != E], k)) - J(graph, E)
            assert swap <= max(gain, add + state.loss[out]) + 1e-12
        seen += instead >= 0
    assert seen > 0


@pytest.mark.parametrize("seed", range(10))
def test_local_search_never_loses_and_ends_where_no_drop_add_or_swap_pays(seed: int) -> None:
    graph, members = some_graph(seed, n=30, noise=0.3), np.arange(30)
    rng = np.random.default_rng(seed)
    for start in (np.arange(30), np.array([0]), rng.choice(30, 10, replace=False), np.array([], dtype=np.int64)):
        state = state_of(graph, members, start)
        total = improve(members, graph, state)
        E = np.flatnonzero(state.chosen)
        assert total == pytest.approx(J(graph, E), abs=1e-12)
        assert total >= J(graph, start) - 1e-12
        for k in range(30):
            rest = E[k != E]
            assert J(graph, rest if k in E else np.append(E, k)) <= total + 1e-9
            if k not in E:
                assert max(J(graph, np.append(E[out != E], k)) for out in E) <= total + 1e-9


def test_the_greedy_choice_serves_every_row() -> None:
    graph, members = some_graph(0, n=40), np.arange(40)
    state = state_of(graph, members, np.arange(40))
    greedy(members, graph, state.chosen)
    G = dense(graph)
    for i in range(40):
        assert state.chosen[i] or (G[i, state.chosen] >= graph.own[i]).any()
    assert 0 < state.chosen.sum() < 40


@pytest.mark.parametrize("n", [2, 3, 7, ALL])
@pytest.mark.parametrize("seed", range(3))
def test_trying_all_finds_the_best_and_of_equals_the_fewest(n: int, seed: int) -> None:
    graph, members = some_graph(seed, n=n), np.arange(n)
    chosen = np.ones(n, dtype=bool)
    try_all(members, graph, np.empty((1 << ALL, ALL)), chosen)
    E = np.flatnonzero(chosen)
    assert J(graph, E) == pytest.approx(best_of_all(graph), abs=1e-12)
    if n <= 7:
        G = dense(graph)
        whole = [F for F in all_sets(n) if (np.delete(G[:, F].max(axis=1) - graph.own, F) >= 0).all()]
        assert len(E) == min(len(F) for F in whole if J(graph, F) >= J(graph, E) - 1e-12)


def test_trying_few_is_right_wherever_it_says_so() -> None:
    proven = 0
    for seed in range(40):
        graph, members = some_graph(seed, noise=0.05 * (seed % 8), preference=(0.3, 0.6, 0.8)[seed % 3]), np.arange(N)
        best = best_of_all(graph)
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


@pytest.mark.parametrize("seed", range(6))
def test_kicks_never_lose_and_find_the_optimum_from_a_poor_start(seed: int) -> None:
    graph, members = some_graph(seed, copies=1), np.arange(N)
    state = state_of(graph, members, np.array([seed]))
    start = improve(members, graph, state)
    scratch = np.empty(N, np.bool_), np.empty(N, np.int64), np.empty(4 * N, np.int64)
    end = shake(members, graph, state, *scratch, 100_000)
    assert end == pytest.approx(J(graph, np.flatnonzero(state.chosen)), abs=1e-12)
    assert end >= start - 1e-12
    assert end == pytest.approx(best_of_all(graph), abs=1e-9)
    assert not scratch[0].any()


def test_kicks_leave_local_optima() -> None:
    """Where local search alone is not enough, in some of these cases."""
    left = 0
    for seed in range(12):
        graph, members, _ = graph_of(rows(60, 60, 0.0, 2, seed), 0.3)
        state = state_of(graph, members, members)
        greedy(members, graph, state.chosen)
        start = improve(members, graph, state)
        scratch = np.empty(60, np.bool_), np.empty(60, np.int64), np.empty(240, np.int64)
        left += shake(np.sort(members), graph, state, *scratch, 200_000) > start + 1e-9
    assert left >= 3


def test_owners_are_the_best_exemplars() -> None:
    graph, members = some_graph(3, n=40), np.arange(40)
    state = state_of(graph, members, np.array([0, 5]))
    exemplar = np.full(40, -7)
    total = settle_owners(members, graph, state, exemplar)
    G = dense(graph)
    E = np.unique(exemplar)
    assert (exemplar[E] == E).all()
    assert total == pytest.approx(J(graph, E), abs=1e-12)
    rest = np.setdiff1d(members, E)
    np.testing.assert_allclose(G[rest, exemplar[rest]], G[rest][:, E].max(axis=1))


# ── affinity propagation ────────────────────────────────────────────────────────────────────────────────────────────


def spread(graph: Graph, max_iter: int = 1000, damping: float = 0.9, kind: type = np.float32) -> tuple[int, list[int]]:
    n = len(graph.own)
    chosen = np.zeros(n, np.bool_)
    took = propagate(np.arange(n), graph, damping, max_iter, np.empty(n, kind), np.empty((2, n)), chosen)
    return took, np.flatnonzero(chosen).tolist()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_where_every_pair_is_known_it_is_affinity_propagation(seed: int, kind: type) -> None:
    W = rows(60, 4, 0.3, 8, seed).abs()
    graph = graph_of(W, 0.05)[0]
    assert len(graph.indices) == 60 * 59
    S = dense(graph)
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


def test_it_says_when_it_does_not_converge() -> None:
    graph = graph_of(rows(60, 4, 0.5, 8, 0), 0.2)[0]
    took, _ = spread(graph)
    assert took > 15
    for max_iter, converged in ((1, False), (15, False), (took - 1, False), (took, True), (took + 1, True)):
        assert (spread(graph, max_iter)[0] == took) == converged
        assert (spread(graph, max_iter)[0] == -1) != converged


def test_it_has_not_converged_while_a_row_is_served_by_none() -> None:
    graph, members = some_graph(3, n=40), np.arange(40)
    G = dense(graph)
    rng = np.random.default_rng(0)
    seen = set()
    for size in range(1, 41):
        chosen = np.isin(members, rng.choice(40, size, replace=False))
        served = bool((chosen | np.isfinite(G[:, chosen]).any(axis=1)).all())
        assert _all_served(members, graph, chosen) == served
        seen.add(served)
    assert seen == {False, True}
    for seed in range(5):
        graph = some_graph(seed, n=40, noise=0.2)
        took, E = spread(graph)
        assert took > 15
        assert _all_served(members, graph, np.isin(members, E))


def test_single_precision_does_no_harm() -> None:
    """Same objective from float32 messages as from float64 ones, to the last digit, wherever both are improved."""
    for seed in range(6):
        graph, members, starts = graph_of(rows(150, 5, 0.3, 3, seed), 0.6)
        single = solve(graph, members, starts, damping=0.9, max_iter=1000, messages=np.float32)
        double = solve(graph, members, starts, damping=0.9, max_iter=1000, messages=np.float64)
        assert single[1].sum() == pytest.approx(double[1].sum(), abs=1e-9)
        assert (single[2] < 0).sum() == (double[2] < 0).sum() == 0


def test_it_is_deterministic() -> None:
    graph, members, starts = graph_of(rows(200, 200, 0.0, 3, 0), 0.5)
    first, second = (solve(graph, members, starts, damping=0.9, max_iter=1000) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_similarity_of_the_graph_is_that_of_rows() -> None:
    W = rows(40, 4, 0.3, 4, 0)
    graph = graph_of(W, 0.5)[0]
    known = dense(graph)
    S = row_similarity(W)
    assert np.sort(known[np.isfinite(known) & (np.eye(40) == 0)]).tolist() == pytest.approx(
        sorted(S[(S >= 0.5) & ~torch.eye(40, dtype=torch.bool)].tolist()), abs=1e-14
    )
