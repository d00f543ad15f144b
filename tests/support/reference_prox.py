"""The sorted-ℓ1 prox without the library: written out in Python, by scipy, and its certificate of optimality."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from torch_growl.mathematics.owl.sequences import oscar, pld

SEQUENCES: dict[str, Callable[[int], Tensor]] = {
    "constant": lambda n: torch.full((n,), 0.4, dtype=torch.float64),
    "ramp": lambda n: 1.3 * pld()(n),
    "steep": lambda n: oscar(lambda1=0.01, lambda2=0.5)(n),
}
_LARGE = 2.0**950
_EPS = 1e-13  # relative to the largest number in play: some thirty sums and differences in float64


def reference_prox(v: list[float], lam: list[float]) -> list[float]:
    """``argmin_x ½‖x − v‖² + Σ λ_i |x|_(i)`` in Python floats (float64), bit-equal to the compiled kernels.

    It sums in the order that the kernels promise: a run in which y does not fall from left to right, then the run's
    total plus the total of the block before it, as often as that block has the lower mean.
    """
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


def scipy_prox(v: Tensor, lam: Tensor) -> Tensor:
    """The prox by scipy's isotonic regression, in float64; for vectors of any length."""
    v64 = v.detach().double().numpy()
    order = np.argsort(-np.abs(v64), kind="stable")
    fitted = isotonic_regression(np.abs(v64)[order] - lam.double().numpy(), increasing=False).x if len(v64) else []
    x = np.zeros_like(v64)
    x[order] = np.maximum(fitted, 0)
    return torch.from_numpy(x * np.sign(v64))


def assert_is_prox(v: Tensor, lam: Tensor, x: Tensor) -> None:
    """x = prox(v) iff Ω*(v − x) ≤ 1 and ⟨v − x, x⟩ = Ω(x); without a quotient, so that λ = 0 is no exception."""
    scale = max((float(part.abs().max()) for part in (v, lam) if len(part)), default=0.0)
    u = (v - x).numpy()
    slack = np.cumsum(np.sort(np.abs(u))[::-1]) - np.cumsum(lam.numpy())
    assert (slack <= _EPS * scale * np.arange(1, len(u) + 1)).all()
    value = float(np.sort(np.abs(x.numpy()))[::-1] @ lam.numpy())
    assert abs(float(u @ x.numpy()) - value) <= _EPS * scale * float(x.abs().sum()) * max(len(u), 1) ** 0.5
