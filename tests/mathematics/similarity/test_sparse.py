"""Similar pairs: equal to the dense similarity for every scale and type, without holding n² numbers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.rows import grouped_rows
from tests.support.tolerances import DTYPES
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.mathematics.similarity import sparse
from torch_growl.mathematics.similarity.dense import row_similarity
from torch_growl.mathematics.similarity.sparse import SimilarPairs, similar_pairs


def dense(found: SimilarPairs) -> np.ndarray:
    """Return a matrix over the rows, 0 for no pair; asserts the invariants of every result."""
    n = len(found.order)
    assert sorted(found.order.tolist()) == list(range(n))
    assert found.indptr[0] == 0
    assert found.indptr[-1] == len(found.indices) == len(found.values)
    S = np.zeros((n, n))
    for i in range(n):
        mine = found.indices[found.indptr[i] : found.indptr[i + 1]]
        assert (np.diff(mine) > 0).all(), "ascending, none twice"
        assert i not in mine
        S[found.order[i], found.order[mine]] = found.values[found.indptr[i] : found.indptr[i + 1]]
    assert (S == S.T).all()
    return S


def check(W: Tensor, preference: float, atol: float = 1e-14) -> np.ndarray:
    S = row_similarity(W).numpy().copy()
    np.fill_diagonal(S, 0.0)
    found = dense(similar_pairs(W, preference))
    near = np.abs(S - preference) <= atol
    assert ((found != 0) == (preference <= S))[~near].all()
    np.testing.assert_allclose(found[~near], np.where(preference <= S, S, 0.0)[~near], rtol=0, atol=atol)
    assert (found[found != 0] >= preference).all()
    return found


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("preference", [0.05, 0.6, 0.95])
def test_they_are_the_dense_similarity_from_the_preference_on(dtype: torch.dtype, preference: float) -> None:
    W = grouped_rows(120, 10, 0.2, 6, spread=0.3).to(dtype)
    W[7] = 0
    before = W.clone()
    assert check(W, preference).any()
    assert torch.equal(W, before)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(*[st.integers(-2, 3)] * 3, st.integers(-40, 40)), max_size=12),
    st.sampled_from([1e-12, 0.1, 0.5, 0.8, 1.0]),
)
def test_they_are_for_any_few_rows(given_rows: list[tuple[int, int, int, int]], preference: float) -> None:
    W = torch.tensor([[float(x) * 2.0 ** (r[3] // 8) for x in r[:3]] for r in given_rows], dtype=torch.float64)
    check(W.reshape(-1, 3), preference)


@pytest.mark.parametrize("spread", [0.0, 0.5])
@pytest.mark.parametrize("tile", [(3, 5), (64, 64), (512, 4096)], ids=str)
def test_blocks_do_not_matter(tile: tuple[int, int], spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    W = grouped_rows(150, 12, 0.2, 5, spread=spread)
    whole = dense(similar_pairs(W, 0.7))
    monkeypatch.setattr(sparse, "_ROWS", tile[0])
    monkeypatch.setattr(sparse, "_COLUMNS", tile[1])
    assert (check(W, 0.7) == whole).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "noise", "d", "preference", "cells"),
    [
        (20, 0.05, 16, 0.8, True),
        (20, 0.0, 16, 1.0, True),
        (4, 0.1, 2, 0.8, None),  # low dimension: cells are near to one another
        (100, 0.05, 64, 0.6, True),
        (100, 0.3, 64, 0.6, None),
        (1500, 0.0, 3, 0.9, None),
        (1500, 0.0, 64, 0.5, False),  # no structure
        (1, 0.3, 8, 0.8, None),
    ],
)
def test_cells_lose_no_pair(groups: int, noise: float, d: int, preference: float, cells: bool | None) -> None:
    W = grouped_rows(1500, groups, noise, d, spread=0.1)
    found = sparse._near_cells(sparse._Rows(W, preference))
    if cells is not None:
        assert (found is not None) == cells
    check(W, preference)


def test_cells_of_tied_rows_leave_out_nearly_all_products() -> None:
    W = grouped_rows(4096, 64, 0.05, 64)
    cells = sparse._near_cells(sparse._Rows(W, 0.8))
    assert cells is not None
    looked_at = sum((a_stop - a) * (b_stop - b) for a, a_stop, b, b_stop in cells)
    assert looked_at <= 4096 * 4096 / 60


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e-150, 1e150, 1e300])
def test_scale_does_not_matter(scale: float) -> None:
    W = torch.tensor([[3.0, 4.0], [4.0, 3.0], [-3.0, 1.0], [0.0, 0.0], [3.0, 5.0]], dtype=torch.float64)
    np.testing.assert_allclose(check(W * scale, 0.5), dense(similar_pairs(W, 0.5)), rtol=1e-14)


def test_rows_of_very_different_scale() -> None:
    W = torch.cat([grouped_rows(30, 5, 0.1, 4) * 10.0**e for e in range(-300, 301, 50)])
    assert check(W, 0.3).any()
    W = torch.tensor([[1e300, 1e300], [1e-300, 1e-300], [2e-300, 2e-300], [1e299, 1e299]], dtype=torch.float64)
    expected = np.zeros((4, 4))
    expected[0, 3] = expected[3, 0] = 0.1
    expected[1, 2] = expected[2, 1] = 0.5
    np.testing.assert_allclose(check(W, 0.05), expected, rtol=1e-12)
    check(W, 1e-300)


def test_long_rows_are_screened_safely() -> None:
    """Where float32 sums of 10⁵ terms go wrong in the fourth digit, none is lost, right at the preference."""
    d = 100_000
    generator = torch.Generator().manual_seed(0)
    base = 1 + 0.1 * torch.randn(d, generator=generator)
    W = torch.stack([base * (1 + 1e-6 * k) for k in range(6)] + [base + 0.05 * torch.randn(d, generator=generator)])
    S = row_similarity(W).numpy()
    for preference in (0.5, float(S[0, 5]) - 1e-12, float(S[0, 6]) - 1e-12, float(S[0, 6]) + 1e-12):
        check(W, preference, atol=2e-13)


def test_all_positive_rows_at_the_edge_of_the_margin() -> None:
    W = torch.full((40, 4096), 0.1) + 1e-4 * torch.rand(40, 4096)
    S = row_similarity(W)
    for k in range(1, 40, 7):
        check(W, float(S[0, k]) - 1e-13, atol=5e-14)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 4)], ids=str)
def test_nothing(shape: tuple[int, ...]) -> None:
    found = similar_pairs(torch.ones(shape), 0.8)
    assert len(found.order) == shape[0]
    assert len(found.values) == 0
    assert len(similar_pairs(torch.zeros(2000, 3), 0.1).values) == 0


def test_any_layout_of_memory_and_no_gradient() -> None:
    W = grouped_rows(60, 6, 0.1, 36)
    expected = dense(similar_pairs(W, 0.8))
    assert (dense(similar_pairs(W.T.contiguous().T, 0.8)) == expected).all()
    assert (dense(similar_pairs(W.reshape(60, 4, 3, 3).requires_grad_(), 0.8)) == expected).all()


def test_it_is_the_same_on_every_run_and_for_rows_in_another_order() -> None:
    W = grouped_rows(1500, 40, 0.1, 12, spread=0.2)
    order = torch.randperm(1500)
    first, second, permuted = similar_pairs(W, 0.8), similar_pairs(W, 0.8), similar_pairs(W[order], 0.8)
    assert all((getattr(first, f) == getattr(second, f)).all() for f in ("order", "indptr", "indices", "values"))
    assert (dense(permuted) == dense(first)[np.ix_(order, order)]).all()


@pytest.mark.parametrize("case", ["tied", "random"])
def test_memory_is_far_from_n_squared(case: str) -> None:
    """At n = 8192 a float32 matrix of all pairs is 256 MiB; W itself is half a MiB."""
    n = 8192
    W = (grouped_rows(n, 512, 0.01, 16) if case == "tied" else grouped_rows(n, n, 0.0, 16)).float()
    similar_pairs(W[:2000], 0.95)
    tracemalloc.start()
    found = similar_pairs(W, 0.95)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.values) < n * n / 100
    assert peak < 110 * 2**20 + 2 * len(found.values) * 20
    assert peak < 4 * n * n / 2


@pytest.mark.parametrize(
    ("W", "error", "words"),
    [
        ([[1.0]], InvalidTypeError, "W must be a torch.Tensor, got list"),
        (torch.ones(2, 2, dtype=torch.int64), InvalidTypeError, "dense float16, .* tensor, got torch.int64"),
        (torch.ones(2), InvalidValueError, r"two dimensions or more; got shape \(2,\)"),
        (torch.tensor([[1.0, np.nan]]), InvalidValueError, "1 of its 2 values are NaN"),
    ],
)
def test_bad_input_is_refused(W: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        similar_pairs(W, 0.8)  # type: ignore[arg-type]
