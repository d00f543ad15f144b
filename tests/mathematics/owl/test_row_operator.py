"""The row-wise prox of GrOWL: rows scaled by the prox of their norms, in every type, shape and memory layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.reference_prox import scipy_prox
from tests.support.tolerances import DTYPES, close
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.mathematics.owl.operators import owl_norm, prox_growl
from torch_growl.mathematics.owl.sequences import pld

ONE = torch.ones(2, dtype=torch.float64)
SPOILT = torch.tensor([1.0, float("nan"), float("-inf")])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(30, 5), (8, 3, 2, 2), (1, 4), (0, 3), (3, 0)], ids=str)
def test_rows_are_scaled_by_the_prox_of_their_norms(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    W = torch.randn(shape).to(dtype)
    if shape[0] > 2:
        W[1] = 0
    lam = 1.5 * pld()(shape[0])
    before = W.clone()
    X = prox_growl(W, lam)
    assert X.shape == W.shape
    assert X.dtype == dtype
    norms = W.double().flatten(1).norm(dim=1)
    scale = scipy_prox(norms, lam) / norms.where(norms > 0, 1.0)
    expected = (W.double().flatten(1) * scale[:, None]).reshape(shape)
    torch.testing.assert_close(X, expected.to(dtype), **close(dtype))
    assert torch.equal(W, before)


def test_rows_by_definition() -> None:
    """No small step away from the prox does better: it is the minimum, of a convex function."""
    W, lam = torch.randn(12, 4, dtype=torch.float64), 2.2 * pld(floor=0.7)(12)

    def value(X: Tensor) -> Tensor:
        return (X - W).square().sum() / 2 + owl_norm(X.norm(dim=1), lam)

    X = prox_growl(W, lam)
    assert 0 < int((X == 0).all(dim=1).sum()) < 12
    for size in (1e-5, 1e-2, 1.0):
        for _ in range(50):
            assert float(value(X + size * torch.randn_like(X))) > float(value(X))


def test_zero_lambda_leaves_rows_bit_for_bit() -> None:
    for dtype in DTYPES:
        W = torch.randn(20, 3).to(dtype)
        assert torch.equal(prox_growl(W, torch.zeros(20)), W)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300])
def test_rows_of_huge_and_tiny_scale(scale: float) -> None:
    W, lam = torch.randn(10, 3, dtype=torch.float64), pld()(10)
    W[4] = 0
    torch.testing.assert_close(prox_growl(W * scale, lam * scale) / scale, prox_growl(W, lam), rtol=1e-12, atol=0)


def test_rows_of_a_channels_last_weight() -> None:
    W, lam = torch.randn(6, 4, 3, 3), pld()(6)
    expected = prox_growl(W, lam)
    torch.testing.assert_close(prox_growl(W.to(memory_format=torch.channels_last), lam), expected)
    turned = W.transpose(0, 1)
    torch.testing.assert_close(prox_growl(turned, lam[:4]), prox_growl(turned.contiguous(), lam[:4]))


@pytest.mark.parametrize(
    ("W", "lam", "error", "words"),
    [
        (torch.ones(2), ONE, InvalidValueError, r"W must have rows along dim 0.* got shape \(2,\)"),
        (torch.ones(2, 2, dtype=torch.int32), ONE, InvalidTypeError, "W must be a dense .* got torch.int32"),
        (np.ones((2, 2)), ONE, InvalidTypeError, "W must be a torch.Tensor, got ndarray"),
        (SPOILT.expand(2, 3), ONE, InvalidValueError, "W must be finite; 4 of its 6 values"),
        (torch.ones(2, 2), torch.ones(3), InvalidValueError, "one value for each of 2 rows"),
        (torch.ones(2, 2), torch.tensor([1.0, 2.0]), InvalidValueError, "non-increasing"),
    ],
)
def test_bad_rows_are_refused(W: Tensor, lam: Tensor, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        prox_growl(W, lam)
