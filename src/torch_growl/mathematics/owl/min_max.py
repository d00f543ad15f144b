"""Isotonic regression without a branch on a value, so that a device can run it without host synchronisation.

The non-increasing isotonic regression of y is ``x_k = min_{i≤k} max_{j≥k} mean(y_i … y_j)`` (Robertson, Wright and
Dykstra 1988, theorem 1.4.4). It takes O(n²) means where pooling adjacent violators takes O(n) steps, but the means are
independent, all shapes are known beforehand and nothing has to be read back: it can be captured in a CUDA graph. Other
ways to avoid a branch (splitting blocks at their mean, pooling runs round by round) need a number of rounds that
depends on the values, which the host would have to read.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["isotonic_minmax"]

_MEANS = 1 << 20  # held at a time, so that memory stays bounded for vectors of any length


def isotonic_minmax(y: Tensor) -> Tensor:
    """Return the non-increasing isotonic regression of every row of a matrix.

    Args:
        y: ``(n_vectors, n)`` float64, finite, on any device; not modified.

    Returns:
        The same shape. Means are differences of prefix sums, so their error is at most about n · 2⁻⁵³ of the largest
        |y|; that of pooling is smaller. Values of one block are equal up to this error.
    """
    vectors, n = y.shape
    x = torch.full_like(y, torch.inf)
    if y.numel() == 0:
        return x
    sums = torch.cat([y.new_zeros(vectors, 1), y.cumsum(1)], 1)  # sums[:, j] = y_0 + … + y_{j−1}
    place = torch.arange(n, device=y.device)
    last = place.flip(0)  # j from the last to the first, so that a running maximum is one over all j ≥ k
    before, to = sums[:, :-1].unsqueeze(2), sums[:, 1:].flip(1).unsqueeze(1)  # (n_vectors, n, 1), (n_vectors, 1, n)
    chunk = max(1, _MEANS // (vectors * n))
    for start in range(0, n, chunk):
        first = place[start : start + chunk].unsqueeze(1)  # i
        outside = last < first  # (chunk, n): j < i
        length = (last - first + 1).clamp(min=1)
        means = (to - before[:, start : start + chunk]).div_(length).masked_fill_(outside, -torch.inf)
        best = means.cummax(2).values.masked_fill_(outside, torch.inf)  # max over j ≥ k, for k ≥ i
        x = torch.minimum(x, best.amin(1))
    return x.flip(1)
