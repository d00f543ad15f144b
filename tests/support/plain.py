"""The sorted-ℓ1 prox written as plainly as can be, in Python floats (float64): what the fast paths are held against.

It sums in the order the kernels promise: a run in which y does not fall from left to right, then the run's total plus
the total of the block before it, as often as that has the lower mean.
"""

from __future__ import annotations

import math

_LARGE = 2.0**950


def prox(v: list[float], lam: list[float]) -> list[float]:
    """``argmin_x ½‖x − v‖² + Σ λ_i |x|_(i)``."""
    order = sorted(range(len(v)), key=lambda i: (-abs(v[i]), i))
    y = [abs(v[i]) - weight for i, weight in zip(order, lam, strict=True)]
    scale = 2.0**-64 if v and max(abs(v[order[0]]), lam[0]) > _LARGE else 1.0
    blocks: list[tuple[float, int, float]] = []  # total, length, mean
    i = 0
    while i < len(y):
        j = i + 1
        total = y[i] * scale
        while j < len(y) and y[j] >= y[j - 1]:
            total += y[j] * scale
            j += 1
        length = j - i
        mean = y[i] if y[j - 1] == y[i] else total / length / scale
        while blocks and blocks[-1][2] < mean:
            before, more, _ = blocks.pop()
            total += before
            length += more
            mean = total / length / scale
        blocks.append((total, length, mean))
        i = j
    x = [0.0] * len(v)
    k = 0
    for _, length, mean in blocks:
        for i in order[k : k + length]:
            x[i] = math.copysign(mean, v[i]) if mean > 0 and v[i] != 0 else (v[i] if v[i] == 0 else 0.0)
        k += length
    return x
