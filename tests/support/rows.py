"""Rows in groups, for tests of similarity, clustering and tying."""

from __future__ import annotations

import torch
from torch import Tensor


def grouped_rows(
    n: int, groups: int, noise: float, length: int = 16, *, seed: int = 0, spread: float = 0.0, copies: int = 1
) -> Tensor:
    """``(copies · n, length)`` float64 rows; row i is centre i mod ``groups`` plus noise.

    Args:
        n: rows.
        groups: centres, standard normal.
        noise: standard deviation of the normal noise on every value; 0: the rows of a group are bit-equal.
        length: values in a row.
        seed: of everything.
        spread: standard deviation of the logarithm of a factor on each row; 0: none.
        copies: how often all rows are repeated.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, length, generator=generator, dtype=torch.float64)
    W = centres[torch.arange(n) % groups] + noise * torch.randn(n, length, generator=generator, dtype=torch.float64)
    if spread:
        W = W * torch.exp(spread * torch.randn(n, 1, generator=generator, dtype=torch.float64))
    return W.repeat(copies, 1)
