"""Row similarity: the formula, exact symmetry and diagonal, zero rows, extreme scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.tolerances import DTYPES
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.mathematics.similarity import dense
from torch_growl.mathematics.similarity.dense import row_similarity


def by_definition(W: Tensor) -> Tensor:
    rows = W.double().flatten(1).tolist()
    S = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            size = max(np.dot(a, a), np.dot(b, b))
            if np.any(a) and np.any(b):
                S[i, j] = np.dot(a, b) / size
    return S


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (40, 7), (6, 4, 3, 3)], ids=str)
def test_it_is_the_formula(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    W = torch.randn(shape).to(dtype)
    W[-1] = W[0] * 0.5
    before = W.clone()
    S = row_similarity(W)
    assert S.dtype == torch.float64
    torch.testing.assert_close(S, by_definition(W), rtol=1e-12, atol=1e-14)
    assert torch.equal(W, before)


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_symmetry_and_diagonal_are_exact(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_BLOCK", block)
    W = torch.randn(50, 33) * torch.logspace(-8, 8, 50)[:, None]
    W[7] = 0
    S = row_similarity(W)
    assert torch.equal(S, S.T)
    assert S.diagonal().tolist() == [0.0 if i == 7 else 1.0 for i in range(50)]
    assert not S[7].any()
    assert not S[:, 7].any()
    assert float(S.abs().max()) == 1.0
    torch.testing.assert_close(S, by_definition(W), rtol=1e-11, atol=1e-14)


def test_it_is_bounded_by_the_ratio_of_norms() -> None:
    W = torch.randn(30, 5, dtype=torch.float64) * torch.rand(30, 1, dtype=torch.float64)
    norms = W.norm(dim=1)
    ratio = torch.minimum(norms[:, None], norms) / torch.maximum(norms[:, None], norms)
    assert bool((row_similarity(W).abs() <= ratio * (1 + 1e-12)).all())
    w = torch.tensor([[1.0, 2.0]])
    S = row_similarity(torch.cat([w, -w, 0.8 * w, 2 * w]))
    torch.testing.assert_close(S[0], torch.tensor([1, -1, 0.8, 0.5], dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300, 5e-324])
def test_scale_does_not_matter(scale: float) -> None:
    W = torch.tensor([[3.0, 4.0], [4.0, 3.0], [-3.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(row_similarity(W * scale), row_similarity(W), rtol=1e-12, atol=0)


def test_rows_of_very_different_scale() -> None:
    W = torch.tensor([[1e300, 1e300], [1e-300, 1e-300], [2e-300, 2e-300], [1e299, 1e299]], dtype=torch.float64)
    expected = [[1, 0, 0, 0.1], [0, 1, 0.5, 0], [0, 0.5, 1, 0], [0.1, 0, 0, 1]]
    torch.testing.assert_close(row_similarity(W), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)], ids=str)
def test_nothing(shape: tuple[int, ...]) -> None:
    assert torch.equal(row_similarity(torch.ones(shape)), torch.zeros(shape[0], shape[0], dtype=torch.float64))


def test_any_layout_of_memory() -> None:
    W = torch.randn(6, 4, 3, 3)
    expected = row_similarity(W)
    torch.testing.assert_close(row_similarity(W.to(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(row_similarity(W.repeat(2, 1, 1, 1)[::2]), row_similarity(W[[0, 2, 4, 0, 2, 4]]))
    assert not row_similarity(W.requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("W", "error", "words"),
    [
        ([[1.0]], InvalidTypeError, "W must be a torch.Tensor, got list"),
        (torch.ones(2, 2, dtype=torch.int64), InvalidTypeError, "dense float16, .* tensor, got torch.int64"),
        (torch.ones(2, 2).to_sparse(), InvalidTypeError, "torch.sparse_coo"),
        (torch.ones(2), InvalidValueError, r"two dimensions or more; got shape \(2,\)"),
        (torch.tensor([[1.0, np.nan], [2.0, 1.0], [np.inf, np.nan]]), InvalidValueError, "3 of its 6 values are NaN"),
    ],
)
def test_bad_input_is_refused(W: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        row_similarity(W)  # type: ignore[arg-type]
