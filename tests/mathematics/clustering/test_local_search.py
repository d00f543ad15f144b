"""The search for exemplars: every step against its definition, on graphs small enough to try every set."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.component_graph import J, gains, random_graph, state_of
from torch_growl.mathematics.clustering._local_search import (
    come,
    flip,
    greedy,
    improve,
    net_similarity,
    settle_owners,
)

N = 15


@pytest.mark.parametrize("seed", range(8))
def test_the_state_agrees_with_its_definition_after_any_flips(seed: int) -> None:
    graph, members = random_graph(seed, N), np.arange(N)
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
    graph, members = random_graph(seed, N), np.arange(N)
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


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_local_search_never_loses_and_ends_where_no_drop_add_or_swap_pays(seed: int) -> None:
    graph, members = random_graph(seed, 30, noise=0.3), np.arange(30)
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


def test_the_greedy_choice_gives_every_row_an_exemplar() -> None:
    graph, members = random_graph(0, 40), np.arange(40)
    state = state_of(graph, members, np.arange(40))
    greedy(members, graph, state.chosen)
    G = gains(graph)
    for i in range(40):
        assert state.chosen[i] or (G[i, state.chosen] >= graph.own[i]).any()
    assert 0 < state.chosen.sum() < 40


def test_owners_are_the_best_exemplars() -> None:
    graph, members = random_graph(3, 40), np.arange(40)
    state = state_of(graph, members, np.array([0, 5]))
    exemplar = np.full(40, -7)
    total = settle_owners(members, graph, state, exemplar)
    G = gains(graph)
    E = np.unique(exemplar)
    assert (exemplar[E] == E).all()
    assert total == pytest.approx(J(graph, E), abs=1e-12)
    rest = np.setdiff1d(members, E)
    np.testing.assert_allclose(G[rest, exemplar[rest]], G[rest][:, E].max(axis=1))
