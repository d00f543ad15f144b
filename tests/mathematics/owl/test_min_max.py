"""Isotonic regression without a branch on a value: against scipy, and with bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import isotonic_regression

from torch_growl.mathematics.owl import min_max
from torch_growl.mathematics.owl.min_max import isotonic_minmax


@pytest.mark.parametrize("n", [1, 2, 3, 17, 200, 1500])
def test_it_is_isotonic_regression(n: int) -> None:
    rng = np.random.default_rng(n)
    for make in (rng.standard_normal, lambda k: np.sort(rng.random(k)), lambda k: np.repeat(rng.random(), k)):
        y = np.stack([make(n) for _ in range(3)])
        expected = np.stack([isotonic_regression(row, increasing=False).x for row in y])
        found = isotonic_minmax(torch.from_numpy(y)).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=n * 2e-16 * np.abs(y).max())


def test_it_holds_few_means_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    y = torch.randn(2, 50, dtype=torch.float64)
    whole = isotonic_minmax(y)
    monkeypatch.setattr(min_max, "_MEANS", 7 * 2 * 50)
    assert torch.equal(isotonic_minmax(y), whole)
    assert isotonic_minmax(y[:, :0]).shape == (2, 0)
