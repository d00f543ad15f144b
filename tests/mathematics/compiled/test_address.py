"""Compiled code reads and writes a tensor's memory by its address."""

from __future__ import annotations

from typing import Any

import numba
import pytest
import torch
from numba import carray

from torch_growl.mathematics.compiled.address import float32_at, float64_at


def doubling(at: Any) -> Any:
    """A kernel that doubles ``n`` numbers at an address and returns their sum before."""

    @numba.njit
    def double(address: int, n: int) -> float:
        values, total = carray(at(address), n), 0.0
        for i in range(n):
            total += values[i]
            values[i] *= 2
        return total

    return double


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "at"), [(torch.float32, float32_at), (torch.float64, float64_at)], ids=["float32", "float64"]
)
def test_the_numbers_from_the_address_on_are_read_and_written(dtype: torch.dtype, at: Any) -> None:
    x = torch.arange(1, 9, dtype=dtype) / 3
    before = x.clone()
    total = doubling(float32_at if dtype == torch.float32 else float64_at)(x[2:].data_ptr(), 4)
    assert total == pytest.approx(float(before[2:6].sum()), rel=1e-6)
    assert torch.equal(x, torch.cat([before[:2], 2 * before[2:6], before[6:]]))
