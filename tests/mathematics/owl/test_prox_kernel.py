"""Every fast path of the prox against the one written out in Python, on tens of thousands of random ragged batches.

Both sum in the same order, so they must agree bit for bit; in float32 too, where the kernel sums the same float64
values and rounds once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from tests.support.reference_prox import assert_is_prox, reference_prox
from torch_growl.mathematics.owl import _sorting, prox_kernel
from torch_growl.mathematics.owl.operators import prox_owl

Floats = NDArray[Any]
Rng = np.random.Generator

LENGTHS = [0, 1, 2, 3, 5, 8, 17, 23, 24, 25, 40, 90]


def crowded(rng: Rng, n: int) -> Floats:
    """Few leading bits differ, many trailing ones do: radix passes cannot tell these values apart."""
    base = np.where(rng.random(n) < 0.1, 10.0 ** rng.integers(-30, 30, n), 1.0)
    return base * (1 + rng.integers(0, 1 << 20, n) * 2.0**-52)


def as_trained(rng: Rng, n: int) -> Floats:
    """A few tied norms, some zero rows, the rest spread."""
    v = rng.gamma(4.0, 0.25, n)
    v[rng.random(n) < 0.4] = 1.25
    v[rng.random(n) < 0.3] = 0.0
    return v


VALUES: list[Callable[[Rng, int], Floats]] = [
    lambda rng, n: rng.standard_normal(n),
    lambda rng, n: rng.integers(-3, 4, n) / 2.0,
    lambda rng, n: rng.standard_normal(n) * 10.0 ** rng.integers(-300, 300, n),
    lambda rng, n: np.ldexp(rng.standard_normal(n), 1020),
    lambda rng, n: rng.integers(-5, 6, n) * 5e-324,
    lambda rng, n: np.sort(rng.standard_normal(n)),
    lambda rng, n: np.full(n, rng.standard_normal()),
    crowded,
    as_trained,
]


def lambda_of(rng: Rng, v: Floats) -> Floats:
    n, size = len(v), float(np.abs(v).max(initial=0.0)) or 1.0
    kind = rng.integers(6)
    if kind == 0:
        lam = rng.random(n)
    elif kind == 1:
        lam = np.full(n, rng.random())
    elif kind == 2:
        lam = np.linspace(1, rng.random(), n)
    elif kind == 3:
        lam = np.concatenate([rng.random(1), np.zeros(n)])[:n]
    elif kind == 4:
        with np.errstate(over="ignore"):  # numpy 1.26 warns of an overflow here without one, at denormal numbers
            lam = np.abs(np.r_[v][rng.permutation(n)]) / size  # lets y tie, and fall by nothing
        assert np.isfinite(lam).all()
    else:
        lam = np.zeros(n)
    return np.sort(lam)[::-1] * size * rng.choice([0.1, 0.5, 1.0])


def batch(rng: Rng) -> list[tuple[Floats, Floats]]:
    vectors = []
    for _ in range(rng.integers(1, 5)):
        v = VALUES[rng.integers(len(VALUES))](rng, int(rng.choice(LENGTHS)))
        vectors.append((v, lambda_of(rng, v)))
    return vectors


def same_bits(found: Floats, expected: Floats) -> bool:
    return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


def alone(v: Floats, lam: Floats) -> Floats:
    """One vector by the public call."""
    return prox_owl(torch.from_numpy(v), torch.from_numpy(lam.copy())).numpy()


def all_paths(vectors: list[tuple[Floats, Floats]], rng: Rng) -> None:
    """Compare on one ragged batch: one call for all, one a vector, with an order left by before, float32, blocks."""
    offsets = np.cumsum([0, *(len(v) for v, _ in vectors)])
    v, lam = (np.concatenate(parts) for parts in zip(*vectors, strict=True))
    expected = np.concatenate([reference_prox(v.tolist(), lam.tolist()) for v, lam in vectors])

    together = np.empty_like(v)
    assert prox_kernel.prox_vectors(v, lam, offsets, together) == prox_kernel.OK
    assert same_bits(together, expected)

    order = np.concatenate([rng.permutation(len(v)) for v, _ in vectors]).astype(np.int32)  # at first a bad one,
    for _ in range(2):  # then a perfect one
        with_order = np.empty_like(v)
        assert prox_kernel.prox_vectors(v, lam, offsets, with_order, order) == prox_kernel.OK
        assert same_bits(with_order, expected)
    for s, (one, _) in enumerate(vectors):
        places = order[offsets[s] : offsets[s + 1]]
        assert sorted(places) == list(range(len(one)))

    x, sorting, block = prox_kernel.prox_blocks(v, lam, offsets)
    assert same_bits(x, expected)
    assert sorted(sorting) == list(range(len(v)))
    for number in range(block.max(initial=-1) + 1):
        assert np.ptp(np.abs(x[sorting[block == number]])) == 0
    assert (x[sorting[block == -1]] == 0).all()

    in_place = v.copy()
    assert prox_kernel.prox_vectors(in_place, lam, offsets, in_place) == prox_kernel.OK
    assert same_bits(in_place, expected)

    for s, (one, weights) in enumerate(vectors):
        assert same_bits(alone(one, weights), expected[offsets[s] : offsets[s + 1]])


def single(vectors: list[tuple[Floats, Floats]]) -> None:
    """Compare the float32 paths, on the values that float32 can represent."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = [(v.astype(np.float32), lam.astype(np.float32)) for v, lam in vectors]
        narrow = [(v, lam) for v, lam in narrow if np.isfinite(v).all() and np.isfinite(lam).all()]
        expected = [np.array(reference_prox(v.tolist(), lam.tolist())).astype(np.float32) for v, lam in narrow]
    for (v, lam), x in zip(narrow, expected, strict=True):
        for weights in (lam, lam.astype(np.float64)):
            assert same_bits(alone(v, weights), x)
    pairs = prox_owl([torch.from_numpy(v) for v, _ in narrow], [torch.from_numpy(lam) for _, lam in narrow])
    for found_tensor, x in zip(pairs, expected, strict=True):
        assert same_bits(found_tensor.numpy(), x)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_thousand_ragged_batches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        vectors = batch(rng)
        all_paths(vectors, rng)
        single(vectors)


@pytest.mark.parametrize("make", VALUES)
@pytest.mark.parametrize("n", [255, 256, 2047, 2048, 8192, 140_000])
def test_long_vectors_of_every_radix(make: Callable[[Rng, int], Floats], n: int) -> None:
    """Long enough for each width of radix digit; the plain path only up to some thousand values, scipy beyond."""
    rng = np.random.default_rng(n)
    v = make(rng, n)
    lam = lambda_of(rng, v)
    if n < 10_000:
        all_paths([(v, lam), (v[::-1].copy(), lam)], rng)
        single([(v, lam)])
        return
    v, lam = np.clip(v, -1e300, 1e300), np.clip(lam, 0, 1e300)
    found = alone(v, lam)
    magnitudes = np.sort(np.abs(v))[::-1]
    size = max(float(magnitudes[0]), 1e-300)
    expected = np.maximum(isotonic_regression((magnitudes - lam) / size, increasing=False).x, 0) * size
    np.testing.assert_allclose(np.sort(np.abs(found))[::-1], expected, rtol=1e-12, atol=1e-12 * size)


@pytest.mark.parametrize("n", [100, 5000])
def test_crowded_values_are_merge_sorted(n: int) -> None:
    """The way out for values that radix passes do not separate and insertion would take too long for."""
    rng = np.random.default_rng(0)
    v = 1 + rng.permutation(n) * 2.0**-52
    v[0] = 1e300
    words, spare, y = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    assert _sorting.descending64(v, 0, n, 0.0, words, spare, y, np.empty(0, np.int32)) == n
    assert (y == np.sort(v)[::-1]).all()
    assert (v[(words >> 1) & 0x7FFFFFFF] == y).all()
    y, words = rng.permutation(n).astype(np.float64), np.arange(n)
    given = y.copy()
    assert not _sorting._insert(y.copy(), words.copy(), n, n)  # it does take too long
    _sorting._merge(y, words, n)
    assert (y == np.arange(n)[::-1]).all()
    assert (given[words] == y).all()


def test_the_reference_is_the_prox() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        v = rng.standard_normal(30)
        lam = np.sort(rng.random(30))[::-1].copy()
        x = np.array(reference_prox(v.tolist(), lam.tolist()))
        assert_is_prox(torch.from_numpy(v), torch.from_numpy(lam), torch.from_numpy(x))
        with pytest.raises(AssertionError):
            assert_is_prox(torch.from_numpy(v), torch.from_numpy(lam), torch.from_numpy(x + 1e-9))
        with pytest.raises(AssertionError):
            assert_is_prox(torch.from_numpy(v), torch.from_numpy(lam), torch.from_numpy(x * (1 - 1e-9)))
