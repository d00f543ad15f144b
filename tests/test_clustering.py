"""Groups of alike rows: the best there are where that can be computed, never worse than scikit-learn's elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import affinity_propagation
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from torch_growl import _affinity
from torch_growl.clustering import Clustering, cluster_rows
from torch_growl.errors import GrowlWarning, InvalidTypeError, InvalidValueError
from torch_growl.partition import Partition
from torch_growl.similarity import row_similarity


def net_similarity(W: Tensor, labels: Tensor, exemplars: tuple[int, ...], preference: float) -> float:
    """By definition, row by row."""
    S = row_similarity(W)
    total = preference * len(exemplars)
    for i, label in enumerate(labels.tolist()):
        if label >= 0 and i != exemplars[label]:
            total += float(S[i, exemplars[label]])
    return total


def check(W: Tensor, found: Clustering, preference: float) -> None:
    """Everything that must hold of any result."""
    S = row_similarity(W)
    labels = found.labels
    assert labels.dtype == torch.int64
    assert labels.shape == (len(W),)
    assert torch.equal(labels == -1, (W.flatten(1) == 0).all(dim=1))
    assert found.partition == Partition.from_labels(labels)
    assert labels.tolist() == list(found.partition.labels), "numbered by first appearance"
    assert found.n_groups == found.partition.n_groups == len(found.exemplars)
    assert labels[list(found.exemplars)].tolist() == list(range(found.n_groups))
    assert found.objective == pytest.approx(net_similarity(W, labels, found.exemplars, preference), abs=1e-9)
    for i in (labels >= 0).nonzero().flatten().tolist():
        mine = float(S[i, found.exemplars[int(labels[i])]])
        assert mine >= preference - 1e-12 or i in found.exemplars
        assert i in found.exemplars or mine >= max(float(S[i, k]) for k in found.exemplars) - 1e-12


def optimum(W: Tensor, preference: float) -> float:
    """The best objective over all sets of exemplars among the nonzero rows."""
    W = W[(W != 0).any(dim=1)]
    n = len(W)
    if n == 0:
        return 0.0
    S = row_similarity(W).numpy()
    sets = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1 == 1
    best = np.full(sets.shape, -np.inf)
    for k in range(n):
        best = np.where(sets[:, k : k + 1], np.maximum(best, S[:, k]), best)
    return float(np.where(sets, preference, best).sum(axis=1).max())


def noisy(n: int, groups: int, noise: float, d: int = 16, seed: int = 0, copies: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, d, generator=generator, dtype=torch.float64)
    W = centres[torch.arange(n) % groups] + noise * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return W.repeat(copies, 1)


# ── the optimum ─────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(-2, 3), st.integers(-2, 3)), max_size=7),
    st.sampled_from([0.1, 0.5, 0.6, 0.8, 0.95, 1.0]),
)
def test_up_to_seven_rows_it_is_the_optimum(rows: list[tuple[int, int]], preference: float) -> None:
    W = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)
    found = cluster_rows(W, preference)
    check(W, found, preference)
    assert found.objective == pytest.approx(optimum(W, preference), abs=1e-9)
    assert found.converged


def test_where_all_sets_can_still_be_tried_the_search_hardly_ever_misses_the_optimum() -> None:
    """Fourteen rows, mostly one component: propagation and local search. Measured: 39 of 40 optimal, one at 0.996."""
    reached = []
    for seed in range(8):
        W = noisy(14, 1 + seed % 3, 0.1 + 0.1 * (seed % 4), d=3, seed=seed)
        for preference in (0.05, 0.3, 0.6, 0.8, 0.9):
            found = cluster_rows(W, preference)
            check(W, found, preference)
            reached.append(found.objective / optimum(W, preference))
    assert len(reached) == 40
    assert max(reached) <= 1 + 1e-9
    assert min(reached) >= 0.995
    assert sum(ratio >= 1 - 1e-9 for ratio in reached) >= 39


# ── beside scikit-learn ─────────────────────────────────────────────────────────────────────────────────────────────

TABLE: dict[str, tuple[Callable[[], Tensor], float]] = {
    "clear groups": (lambda: noisy(60, 6, 0.05), 0.8),
    "blurred groups": (lambda: noisy(90, 9, 0.35), 0.6),
    "blurred groups, high preference": (lambda: noisy(90, 9, 0.25), 0.9),
    "one broad group": (lambda: noisy(80, 1, 0.4), 0.5),
    "no groups": (lambda: noisy(50, 50, 0.0), 0.8),
    "low dimension": (lambda: noisy(70, 70, 0.0, d=2), 0.6),
    "low dimension, low preference": (lambda: noisy(70, 70, 0.0, d=2, seed=3), 0.1),
    "duplicates": (lambda: noisy(40, 5, 0.3, copies=3), 0.7),
    "zero rows": (lambda: torch.cat([noisy(40, 5, 0.3), torch.zeros(10, 16)]), 0.7),
    "opposite signs": (lambda: torch.cat([noisy(30, 3, 0.1), -noisy(30, 3, 0.1)]), 0.8),
    "different sizes": (lambda: noisy(60, 4, 0.1) * torch.linspace(0.5, 2, 60)[:, None], 0.7),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_objective_is_never_below_affinity_propagation_on_all_rows(case: str) -> None:
    make, preference = TABLE[case]
    W = make()
    found = cluster_rows(W, preference)
    check(W, found, preference)
    rows = (W != 0).any(dim=1).nonzero().flatten()
    S = row_similarity(W[rows]).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        centers, labels = affinity_propagation(S, preference=preference, damping=0.9, max_iter=1000, random_state=0)
    theirs = torch.full((len(W),), -1)
    theirs[rows] = torch.from_numpy(labels)
    exemplars = tuple(rows[torch.from_numpy(np.asarray(centers))].tolist())
    assert len(exemplars) > 0
    assert found.objective >= net_similarity(W, theirs, exemplars, preference) - 1e-9


def test_clear_groups_are_found() -> None:
    W = noisy(300, 20, 0.02, d=32).float()
    found = cluster_rows(W, 0.8)
    assert found.partition == Partition(tuple(i % 20 for i in range(300)))
    assert found.converged


# ── what merging and permuting must not change ──────────────────────────────────────────────────────────────────────


def test_duplicates_go_together_and_weigh_as_many_rows() -> None:
    w = torch.tensor([[1.0, 0.0], [0.9, 0.43], [0.62, 0.78]])
    # 2 is similar to 1, 1 to 0; the many copies of 2 draw 1 to them
    W = torch.cat([w, w[2:].expand(8, 2)])
    found = cluster_rows(W, 0.8)
    check(W, found, 0.8)
    assert found.partition == Partition((0, 1, 1, *[1] * 8)) or found.objective == pytest.approx(optimum(W, 0.8))
    assert found.exemplars[-1] == 2, "of bit-equal rows the first"
    assert found.objective == pytest.approx(optimum(W, 0.8), abs=1e-9)


@pytest.mark.parametrize("copies", [2, 5])
def test_merging_duplicates_is_exact_in_a_large_component(copies: int) -> None:
    W = noisy(12, 1, 0.35, d=3)
    W = torch.cat([W, W[:3].repeat(copies - 1, 1)])[: 12 + 3 * (copies - 1)]
    found = cluster_rows(W[:18], 0.7)
    check(W[:18], found, 0.7)
    assert found.objective == pytest.approx(optimum(W[:18], 0.7), abs=1e-9)


@pytest.mark.parametrize("case", TABLE)
def test_permuting_rows_permutes_the_groups(case: str) -> None:
    make, preference = TABLE[case]
    W = make()
    order = torch.randperm(len(W))
    straight, permuted = cluster_rows(W, preference), cluster_rows(W[order], preference)
    assert permuted.partition == Partition.from_labels(straight.labels[order])
    assert permuted.objective == straight.objective
    again = cluster_rows(W, preference)
    assert again.exemplars == straight.exemplars
    assert torch.equal(again.labels, straight.labels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_type_layout_and_more_dimensions(dtype: torch.dtype) -> None:
    W = noisy(24, 3, 0.05, d=18).to(dtype)
    before = W.clone()
    found = cluster_rows(W)
    assert found.partition == Partition(tuple(i % 3 for i in range(24)))
    assert torch.equal(W, before)
    assert cluster_rows(W.T.contiguous().T).partition == found.partition
    assert cluster_rows(W.reshape(24, 2, 3, 3).to(memory_format=torch.channels_last)).partition == found.partition
    assert cluster_rows(W.requires_grad_()).partition == found.partition


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_does_not_matter(scale: float) -> None:
    W = noisy(40, 4, 0.2)
    assert cluster_rows(W * scale).partition == cluster_rows(W).partition


# ── edges ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("W", "labels", "objective"),
    [
        (torch.zeros(0, 3), [], 0.0),
        (torch.zeros(3, 0), [-1, -1, -1], 0.0),
        (torch.zeros(4, 2), [-1] * 4, 0.0),
        (torch.ones(1, 2), [0], 0.8),
        (torch.ones(5, 2), [0] * 5, 4.8),
        (torch.tensor([[1.0, 2.0], [-1.0, -2.0]]), [0, 1], 1.6),
        (torch.tensor([[0.0, 0.0], [1.0, 2.0], [-0.0, 0.0], [1.0, 2.0]]), [-1, 0, -1, 0], 1.8),
        (torch.tensor([[0.0, 1.0], [-0.0, 1.0]]), [0, 0], 1.8),
        (torch.tensor([[1.0], [0.9]]), [0, 0], 1.7),
        (torch.tensor([[1.0], [0.7]]), [0, 1], 1.6),
        (torch.tensor([[4.0, 0.0], [3.0, 0.0]]), [0, 1], 1.6),
    ],
)
def test_edges(W: Tensor, labels: list[int], objective: float) -> None:
    found = cluster_rows(W)
    assert found.labels.tolist() == labels
    assert found.objective == pytest.approx(objective, abs=1e-6)
    assert found.converged
    check(W, found, 0.8)


def test_two_thousand_equal_rows() -> None:
    found = cluster_rows(torch.full((2048, 64), 0.3))
    assert found.n_groups == 1
    assert found.objective == pytest.approx(2047.8)
    assert found.converged


def test_rows_all_equally_similar() -> None:
    """scikit-learn warns and chooses arbitrarily there."""
    W = torch.eye(12, dtype=torch.float64) + 1.0
    s = float(row_similarity(W)[0, 1])
    for preference, groups in ((s - 0.05, 1), (1.0, 12)):
        found = cluster_rows(W, preference)
        check(W, found, preference)
        assert found.n_groups == groups
    spread, converged = _affinity._propagate(np.full((12, 12), 0.5) + 0.3 * np.eye(12), 0.9, 100)
    assert len(spread) == 12
    assert converged
    spread, converged = _affinity._propagate(np.full((12, 12), 0.5) - 0.3 * np.eye(12), 0.9, 100)
    assert spread.tolist() == [0]
    assert converged


def test_at_preference_one_only_equal_rows_tie() -> None:
    W = noisy(30, 3, 1e-4)
    W[5] = W[0]
    assert cluster_rows(W, 1.0).partition == Partition.from_rows(W)


# ── when propagation fails ──────────────────────────────────────────────────────────────────────────────────────────


def test_non_convergence_is_said_and_the_result_is_still_good() -> None:
    W = torch.cat([noisy(80, 1, 0.4), 5 + noisy(3, 3, 0.1)])
    good = cluster_rows(W, 0.5)
    assert good.converged
    with pytest.warns(GrowlWarning, match="within 2 iterations on 1 component.*, the largest of 8. distinct") as w:
        poor = cluster_rows(W, 0.5, max_iter=2)
    assert not poor.converged
    assert [warning.category for warning in w] == [GrowlWarning]
    assert w[0].filename == __file__
    check(W, poor, 0.5)
    assert poor.objective >= 0.98 * good.objective


@pytest.mark.parametrize("seed", range(6))
def test_without_propagation_greedy_choice_and_local_search_come_near_the_optimum(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_affinity, "_propagate", lambda *_: (np.zeros(0, dtype=np.int64), False))
    W = noisy(14, 1, 0.4, d=3, seed=seed)
    with pytest.warns(GrowlWarning, match="did not converge"):
        found = cluster_rows(W, 0.4)
    check(W, found, 0.4)
    assert found.objective >= 0.985 * optimum(W, 0.4)  # measured: 0.989, 0.995, 0.997, 1


@pytest.mark.parametrize("seed", range(10))
def test_local_search_never_loses_and_mends_what_is_bad(seed: int) -> None:
    W = noisy(60, 5, 0.3, seed=seed)
    G = _affinity.gains(row_similarity(W).numpy(), np.ones(60, dtype=np.int64), 0.6)
    rng = np.random.default_rng(seed)
    best = _affinity.net_similarity(G, _affinity.best_exemplars(G, damping=0.9, max_iter=1000)[0])
    starts = [np.arange(60), np.array([0]), np.sort(rng.choice(60, 20, replace=False)), _affinity._greedy(G)]
    for start in starts:
        end = _affinity._improve(G, start)
        assert _affinity.net_similarity(G, end) >= _affinity.net_similarity(G, start) - 1e-12
        assert _affinity.net_similarity(G, end) >= 0.95 * best
        for step in (_affinity._recentre, _affinity._drop, _affinity._add, _affinity._swap):
            mask = np.zeros(60, dtype=bool)
            mask[start] = True
            changed = step(G, mask, 1e-9)
            after = _affinity.net_similarity(G, np.flatnonzero(mask))
            assert changed == (after > _affinity.net_similarity(G, start) + 1e-10)


def test_of_two_exemplars_that_stand_in_for_one_another_only_one_is_dropped() -> None:
    W = noisy(12, 2, 0.01)  # even and odd rows
    G = _affinity.gains(row_similarity(W).numpy(), np.ones(12, dtype=np.int64), 0.6)
    mask = np.isin(np.arange(12), [0, 2, 1, 3])
    assert _affinity._drop(G, mask, 1e-9)
    assert sorted(k % 2 for k in np.flatnonzero(mask)) == [0, 1]


@pytest.mark.parametrize("seed", range(10))
def test_the_swap_is_the_best_of_all_swaps(seed: int) -> None:
    W = noisy(15, 3, 0.5, d=4, seed=seed)
    copies = torch.randint(1, 4, (15,), generator=torch.Generator().manual_seed(seed)).numpy()
    G = _affinity.gains(row_similarity(W).numpy(), copies, 0.4)
    E = np.random.default_rng(seed).choice(15, 1 + seed % 4, replace=False)
    swaps = [np.array([k for k in E if k != out] + [new]) for out in E for new in range(15) if new not in E]
    best = max(_affinity.net_similarity(G, after) for after in swaps)
    before = _affinity.net_similarity(G, E)
    mask = np.isin(np.arange(15), E)
    assert _affinity._swap(G, mask, 1e-9) == (best > before + 1e-9)
    assert mask.sum() == len(E)
    assert _affinity.net_similarity(G, np.flatnonzero(mask)) == pytest.approx(max(best, before), abs=1e-9)


def test_every_local_step_is_needed() -> None:
    """Each alone improves a start that it is made for."""
    W = noisy(40, 4, 0.2)
    G = _affinity.gains(row_similarity(W).numpy(), np.ones(40, dtype=np.int64), 0.6)
    made_for = {"_drop": range(40), "_add": [0], "_recentre": [36, 37, 38, 39], "_swap": [36, 37, 38, 39]}
    for step, start in ((getattr(_affinity, name), start) for name, start in made_for.items()):
        mask = np.zeros(40, dtype=bool)
        mask[list(start)] = True
        before = _affinity.net_similarity(G, np.flatnonzero(mask))
        assert step(G, mask, 1e-9), step
        assert _affinity.net_similarity(G, np.flatnonzero(mask)) > before + 1e-9, step


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ROWS = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("W", "options", "error", "words"),
    [
        (ROWS, {"preference": 0.0}, InvalidValueError, r"preference must be in \(0, 1\], got 0.0: no sim"),
        (ROWS, {"preference": 1.5}, InvalidValueError, r"preference must be in \(0, 1\], got 1.5"),
        (ROWS, {"preference": float("nan")}, InvalidValueError, "preference must be in .* got nan"),
        (ROWS, {"preference": "0.8"}, InvalidTypeError, "preference must be a number, got str"),
        (ROWS, {"damping": 1.0}, InvalidValueError, r"damping must be in \[0.5, 1\), got 1.0"),
        (ROWS, {"damping": 0.4}, InvalidValueError, r"damping must be in \[0.5, 1\), got 0.4"),
        (ROWS, {"damping": None}, InvalidTypeError, "damping must be a number, got NoneType"),
        (ROWS, {"max_iter": 0}, InvalidValueError, "max_iter must be ≥ 1, got 0"),
        (ROWS, {"max_iter": 2.0}, InvalidTypeError, "max_iter must be an integer, got float"),
        (torch.ones(3), {}, InvalidValueError, "W must have rows along dim 0"),
        (torch.ones(3, 2, dtype=torch.int64), {}, InvalidTypeError, "dense floating-point tensor, got torch.int64"),
        (torch.tensor([[1, np.nan], [np.inf, 0], [1, 1]]), {}, InvalidValueError, "2 of its 3 rows"),
    ],
)
def test_bad_input_is_refused(W: Tensor, options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        cluster_rows(W, **options)  # type: ignore[arg-type]
