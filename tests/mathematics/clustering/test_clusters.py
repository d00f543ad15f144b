"""Groups of similar rows: optimal if the optimum can be computed, else never worse than scikit-learn's."""

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

from tests.support.clusterings import assert_clustering, best_net_similarity, net_similarity
from tests.support.component_graph import graph_of
from tests.support.rows import grouped_rows
from torch_growl.errors import GrowlWarning, InvalidTypeError, InvalidValueError
from torch_growl.mathematics.clustering import clusters
from torch_growl.mathematics.clustering._affinity import solve
from torch_growl.mathematics.clustering.clusters import cluster_rows
from torch_growl.mathematics.clustering.partition import Partition
from torch_growl.mathematics.similarity.dense import row_similarity

# ── the optimum ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(-2, 3), st.integers(-2, 3)), max_size=10),
    st.sampled_from([0.1, 0.5, 0.6, 0.8, 0.95, 1.0]),
)
def test_up_to_ten_rows_it_is_the_optimum(rows: list[tuple[int, int]], preference: float) -> None:
    W = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)
    found = cluster_rows(W, preference)
    assert_clustering(W, found, preference)
    assert found.objective == pytest.approx(best_net_similarity(W, preference), abs=1e-9)
    assert found.converged


@pytest.mark.slow
def test_the_optimum_of_fourteen_rows_is_found() -> None:
    """Fourteen rows, mostly one component. Measured: all of 40 optimal."""
    for seed in range(8):
        W = grouped_rows(14, 1 + seed % 3, 0.1 + 0.1 * (seed % 4), 3, seed=seed)
        for preference in (0.05, 0.3, 0.6, 0.8, 0.9):
            found = cluster_rows(W, preference)
            assert_clustering(W, found, preference)
            assert found.objective == pytest.approx(best_net_similarity(W, preference), abs=1e-9)


# ── beside scikit-learn ─────────────────────────────────────────────────────────────────────────────────────────────

TABLE: dict[str, tuple[Callable[[], Tensor], float]] = {
    "clear groups": (lambda: grouped_rows(60, 6, 0.05), 0.8),
    "blurred groups": (lambda: grouped_rows(90, 9, 0.35), 0.6),
    "blurred groups, high preference": (lambda: grouped_rows(90, 9, 0.25), 0.9),
    "one broad group": (lambda: grouped_rows(80, 1, 0.4), 0.5),
    "no groups": (lambda: grouped_rows(50, 50, 0.0), 0.8),
    "low dimension": (lambda: grouped_rows(70, 70, 0.0, 2), 0.6),
    "low dimension, low preference": (lambda: grouped_rows(70, 70, 0.0, 2, seed=3), 0.1),
    "duplicates": (lambda: grouped_rows(40, 5, 0.3, copies=3), 0.7),
    "zero rows": (lambda: torch.cat([grouped_rows(40, 5, 0.3), torch.zeros(10, 16)]), 0.7),
    "opposite signs": (lambda: torch.cat([grouped_rows(30, 3, 0.1), -grouped_rows(30, 3, 0.1)]), 0.8),
    "different sizes": (lambda: grouped_rows(60, 4, 0.1) * torch.linspace(0.5, 2, 60)[:, None], 0.7),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_objective_is_never_below_affinity_propagation_on_all_rows(case: str) -> None:
    make, preference = TABLE[case]
    W = make()
    found = cluster_rows(W, preference)
    assert_clustering(W, found, preference)
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
    W = grouped_rows(300, 20, 0.02, 32).float()
    found = cluster_rows(W, 0.8)
    assert found.partition == Partition(tuple(i % 20 for i in range(300)))
    assert found.converged


# ── what merging and permuting must not change ──────────────────────────────────────────────────────────────────────


def test_duplicates_go_together_and_weigh_as_many_rows() -> None:
    """Row 1 is similar to rows 0 and 2, and their exemplar; nine copies of row 2 are better off as a group."""
    w = torch.tensor([[1.0, 0.0], [0.9, 0.43], [0.62, 0.78]])
    once = cluster_rows(w, 0.8)
    assert once.partition == Partition((0, 0, 0))
    assert once.exemplars == (1,)
    W = torch.cat([w, w[2:].expand(8, 2)])
    found = cluster_rows(W, 0.8)
    assert_clustering(W, found, 0.8)
    assert found.partition == Partition((0, 0, 1, *[1] * 8))
    assert found.exemplars[-1] == 2, "of bit-equal rows the first"
    assert found.objective == pytest.approx(best_net_similarity(W, 0.8), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("copies", [2, 5])
def test_merging_duplicates_is_exact_in_a_large_component(copies: int) -> None:
    W = grouped_rows(12, 1, 0.35, 3)
    W = torch.cat([W, W[:3].repeat(copies - 1, 1)])[: 12 + 3 * (copies - 1)]
    found = cluster_rows(W[:18], 0.7)
    assert_clustering(W[:18], found, 0.7)
    assert found.objective == pytest.approx(best_net_similarity(W[:18], 0.7), abs=1e-9)


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


def test_the_inner_order_of_rows_depends_on_their_content_alone() -> None:
    W = grouped_rows(50, 50, 0.0)
    W[:, 3] = 0.0
    order = torch.randperm(50)
    permuted = W[order]
    permuted[::2, 3] = -0.0
    first, copies, back = clusters._by_content(W, np.arange(50), np.arange(50))
    again, _, _ = clusters._by_content(permuted, np.arange(50), np.arange(50))
    assert torch.equal(W[first], permuted[again])
    assert (copies == first).all()
    assert (first[back] == np.arange(50)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_type_layout_and_more_dimensions(dtype: torch.dtype) -> None:
    W = grouped_rows(24, 3, 0.05, 18).to(dtype)
    before = W.clone()
    found = cluster_rows(W)
    assert found.partition == Partition(tuple(i % 3 for i in range(24)))
    assert torch.equal(W, before)
    assert cluster_rows(W.T.contiguous().T).partition == found.partition
    assert cluster_rows(W.reshape(24, 2, 3, 3).to(memory_format=torch.channels_last)).partition == found.partition
    assert cluster_rows(W.requires_grad_()).partition == found.partition


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_does_not_matter(scale: float) -> None:
    W = grouped_rows(40, 4, 0.2)
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
    assert_clustering(W, found, 0.8)


def test_two_thousand_equal_rows() -> None:
    found = cluster_rows(torch.full((2048, 64), 0.3))
    assert found.n_groups == 1
    assert found.objective == pytest.approx(2047.8)
    assert found.converged


@pytest.mark.parametrize("n", [12, 40])
def test_rows_all_equally_similar(n: int) -> None:
    """scikit-learn warns and chooses arbitrarily there."""
    W = torch.eye(n, dtype=torch.float64) + 1.0
    s = float(row_similarity(W)[0, 1])
    for preference, groups in ((s - 0.05, 1), (1.0, n)):
        found = cluster_rows(W, preference)
        assert_clustering(W, found, preference)
        assert found.n_groups == groups


def test_at_preference_one_only_equal_rows_tie() -> None:
    W = grouped_rows(30, 3, 1e-4)
    W[5] = W[0]
    assert cluster_rows(W, 1.0).partition == Partition.from_rows(W)


# ── when propagation fails ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("max_iter", [1, 14])
def test_non_convergence_warns_and_the_result_is_still_good(max_iter: int) -> None:
    W = torch.cat([grouped_rows(80, 1, 0.4), 5 + grouped_rows(3, 3, 0.1)])
    good = cluster_rows(W, 0.5)
    assert good.converged
    with pytest.warns(GrowlWarning, match=f"within {max_iter} .* 1 component.* largest of 8. distinct") as w:
        poor = cluster_rows(W, 0.5, max_iter=max_iter)
    assert not poor.converged
    assert [warning.category for warning in w] == [GrowlWarning]
    assert w[0].filename == __file__
    assert_clustering(W, poor, 0.5)
    assert poor.objective >= 0.98 * good.objective


def test_proven_components_need_no_propagation() -> None:
    W = grouped_rows(64, 4, 0.05, 256)  # four tight groups of sixteen
    found = cluster_rows(W, 0.8, max_iter=1)
    assert found.converged
    assert found.objective == pytest.approx(cluster_rows(W, 0.8, method="exact").objective, abs=1e-9)
    graph, members, starts = graph_of(W, 0.8)
    assert not solve(graph, members, starts, damping=0.9, max_iter=1)[2].any()


@pytest.mark.parametrize("seed", range(6))
def test_without_propagation_the_search_comes_near_the_optimum(seed: int) -> None:
    W = grouped_rows(14, 1, 0.4, 3, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        found = cluster_rows(W, 0.4, max_iter=1)
    assert_clustering(W, found, 0.4)
    assert found.objective >= 0.999 * best_net_similarity(W, 0.4)


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
        (ROWS, {"max_iter": 0}, InvalidValueError, "max_iter must be an integer ≥ 1, got 0"),
        (ROWS, {"max_iter": 2.0}, InvalidTypeError, "max_iter must be an integer ≥ 1, got 2.0"),
        (ROWS, {"method": "best"}, InvalidValueError, "method must be 'affinity' or 'exact', got 'best'"),
        (ROWS, {"time_limit": 0}, InvalidValueError, "time_limit must be finite and > 0 seconds, got 0"),
        (ROWS, {"time_limit": "1"}, InvalidTypeError, "time_limit must be a number, got str"),
        (torch.ones(3), {}, InvalidValueError, "W must have rows along dim 0"),
        (torch.ones(3, 2, dtype=torch.int64), {}, InvalidTypeError, "dense float16, .* tensor, got torch.int64"),
        (torch.tensor([[1, np.nan], [np.inf, 0], [1, 1]]), {}, InvalidValueError, "2 of its 6 values are NaN"),
    ],
)
def test_bad_input_is_refused(W: Tensor, options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        cluster_rows(W, **options)  # type: ignore[arg-type]
