"""Properties of the OWL norm and its prox for every v and λ: the certificate of optimality, and theorems."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.reference_prox import assert_is_prox
from tests.support.tolerances import DTYPES
from torch_growl.mathematics.owl.operators import owl_dual_norm, owl_norm, prox_owl

many = settings(max_examples=1500, deadline=None, derandomize=True)
some = settings(max_examples=200, deadline=None, derandomize=True)


@st.composite
def lambdas(draw: st.DrawFn, n: int) -> Tensor:
    kind = draw(st.sampled_from(["grid", "floats", "constant", "spike", "ramp", "zero"]))
    if kind == "grid":
        values = [k / 2 for k in draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))]
    elif kind == "floats":
        values = draw(st.lists(st.floats(0, 5), min_size=n, max_size=n))
    elif kind == "constant":
        values = [draw(st.floats(0, 5))] * n
    elif kind == "spike":
        values = [draw(st.floats(0, 20))] + [0.0] * (n - 1)
    elif kind == "ramp":
        first, step = draw(st.floats(0, 2)), draw(st.floats(0, 1))
        values = [first + step * k for k in range(n)]
    else:
        values = [0.0] * n
    return torch.tensor(sorted(values, reverse=True)[:n], dtype=torch.float64)


@st.composite
def vectors(draw: st.DrawFn, n: int) -> Tensor:
    if draw(st.booleans()):  # a coarse grid: ties and zeros
        values = [k / 2 for k in draw(st.lists(st.integers(-8, 8), min_size=n, max_size=n))]
    else:
        values = draw(st.lists(st.floats(-10, 10), min_size=n, max_size=n))
    return torch.tensor(values, dtype=torch.float64)


@st.composite
def problems(draw: st.DrawFn, least: int = 0, vs: int = 1) -> tuple[Tensor, ...]:
    n = draw(st.integers(least, draw(st.sampled_from([3, 8, 60]))))
    return (*(draw(vectors(n)) for _ in range(vs)), draw(lambdas(n)))


def scale_of(*tensors: Tensor) -> float:
    return max((float(v.abs().max()) for v in tensors if len(v)), default=0.0)


@pytest.mark.slow
@many
@given(problems(), st.sampled_from([1.0, 1.0, 1e-100, 1e-30, 1e30, 1e100]))
def test_the_prox_has_its_certificate(problem: tuple[Tensor, Tensor], scale: float) -> None:
    v, lam = (part * scale for part in problem)
    assert_is_prox(v, lam, prox_owl(v, lam))


@pytest.mark.slow
@some
@given(problems(least=1))
def test_the_library_s_own_norms_certify_it_too(problem: tuple[Tensor, Tensor]) -> None:
    v, lam = problem
    assume(float(lam[0]) > 0.1)
    x = prox_owl(v, lam)
    assert float(owl_dual_norm(v - x, lam)) <= 1 + 1e-10
    assert abs(float((v - x) @ x - owl_norm(x, lam))) <= 1e-10 * (1 + float(owl_norm(x, lam)))


@pytest.mark.slow
@some
@given(problems(least=1))
def test_the_smallest_scale_that_gives_zero_is_the_dual_norm(problem: tuple[Tensor, Tensor]) -> None:
    v, lam = problem
    assume(float(lam[0]) > 1e-3)
    assume(scale_of(v) > 1e-3)
    a = float(owl_dual_norm(v, lam))
    assert not prox_owl(v, a * (1 + 1e-9) * lam).any()
    assert bool(prox_owl(v, a * (1 - 1e-9) * lam).any())


@pytest.mark.slow
@some
@given(problems(vs=2))
def test_it_is_firmly_non_expansive(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    v, w, lam = problem
    d = prox_owl(v, lam) - prox_owl(w, lam)
    assert float(d @ d) <= float(d @ (v - w)) + 1e-10


@pytest.mark.slow
@some
@given(problems(vs=2))
def test_moreau_the_rest_is_the_projection_onto_the_dual_ball(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    v, z, lam = problem
    p = v - prox_owl(v, lam)
    size = float(owl_dual_norm(z, lam))
    assume(np.isfinite(size))
    z = z / max(size, 1.0)  # some point of the dual ball
    assert float((v - p) @ (z - p)) <= 1e-9


@pytest.mark.slow
@some
@given(problems(), st.data())
def test_signs_and_permutations_bit_for_bit(problem: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    v, lam = problem
    x = prox_owl(v, lam)
    order = torch.tensor(data.draw(st.permutations(range(len(v)))), dtype=torch.int64)
    signs = torch.tensor(data.draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=len(v), max_size=len(v)))).double()
    assert torch.equal(prox_owl(signs * v, lam), signs * x)
    assert torch.equal(prox_owl(v[order], lam), x[order])


@pytest.mark.slow
@some
@given(problems())
def test_it_keeps_signs_and_order_and_shrinks(problem: tuple[Tensor, Tensor]) -> None:
    v, lam = problem
    x = prox_owl(v, lam)
    assert bool((x * v >= 0).all())
    assert bool((x.abs() <= v.abs() * (1 + 1e-15) + 1e-15).all())
    assert not x[v == 0].any()
    down = v.abs().argsort(descending=True, stable=True)
    assert bool((x.abs()[down].diff() <= 0).all())
    for i in range(len(v) - 1):  # equal magnitudes stay equal, bit for bit
        if v[down[i]].abs() == v[down[i + 1]].abs():
            assert x[down[i]].abs() == x[down[i + 1]].abs()


@pytest.mark.slow
@some
@given(problems(), st.sampled_from([2.0**-40, 0.5, 3.0, 1e8]))
def test_scaling(problem: tuple[Tensor, Tensor], c: float) -> None:
    v, lam = problem
    torch.testing.assert_close(prox_owl(c * v, c * lam), c * prox_owl(v, lam), rtol=1e-11, atol=1e-12 * c)


@pytest.mark.slow
@some
@given(problems(), st.floats(0, 1))
def test_semigroup(problem: tuple[Tensor, Tensor], q: float) -> None:
    v, lam = problem
    torch.testing.assert_close(prox_owl(prox_owl(v, q * lam), (1 - q) * lam), prox_owl(v, lam), rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@some
@given(st.integers(0, 60), st.floats(0, 5), st.sampled_from(DTYPES), st.data())
def test_constant_lambda_is_soft_thresholding_bit_for_bit(
    n: int, c: float, dtype: torch.dtype, data: st.DataObject
) -> None:
    v = data.draw(vectors(n)).to(dtype)
    c = float(torch.tensor(c).to(dtype))
    x = prox_owl(v, torch.full((n,), c, dtype=torch.float64))
    assert torch.equal(x, torch.sign(v) * (v.abs() - c).clamp_min(0))
    assert torch.equal(x, torch.nn.functional.softshrink(v, c))


def onto_l1_ball(v: np.ndarray, radius: float) -> np.ndarray:
    """Michelot's algorithm: no sorting, no pooling."""
    a = np.abs(v)
    if a.sum() <= radius:
        return v
    active = np.ones(len(a), dtype=bool)
    while True:
        tau = (a[active].sum() - radius) / active.sum()
        still = active & (a > tau)
        if still.sum() == active.sum() or not still.any():
            return np.sign(v) * np.maximum(a - tau, 0)
        active = still


@pytest.mark.slow
@some
@given(st.integers(1, 40), st.floats(0.01, 40), st.data())
def test_a_single_weight_is_the_rest_of_the_projection_onto_the_l1_ball(n: int, a: float, data: st.DataObject) -> None:
    v = data.draw(vectors(n))
    lam = torch.zeros(n, dtype=torch.float64)
    lam[0] = a
    expected = v - torch.from_numpy(onto_l1_ball(v.numpy(), a))
    torch.testing.assert_close(prox_owl(v, lam), expected, rtol=0, atol=1e-11)


@pytest.mark.slow
@some
@given(st.integers(0, 12), st.floats(0, 3), st.floats(0, 3), st.data())
def test_oscar_is_l1_and_pairwise_maxima(n: int, l1: float, l2: float, data: st.DataObject) -> None:
    from torch_growl.mathematics.owl.sequences import oscar

    v = data.draw(vectors(n))
    a = v.abs()
    pairs = sum(float(torch.maximum(a[i], a[j])) for i in range(n) for j in range(i))
    value = float(owl_norm(v, oscar(lambda1=l1, lambda2=l2)(n)))
    assert abs(value - (l1 * float(a.sum()) + l2 * pairs)) <= 1e-9


@pytest.mark.slow
@many
@given(problems())
@example((torch.tensor([6.0, 6.0, 5.0]).double(), torch.tensor([5.0, 3.0, 3.0]).double()))  # y = 1, 3, 2
@example((torch.tensor([1.1, 1.0, 0.9, 0.8, 0.7]).double(), torch.tensor([0.7, 0.5, 0.4, 0.3, 0.2]).double()))
def test_neighbours_closer_than_their_weights_tie_exactly(problem: tuple[Tensor, Tensor]) -> None:
    v, lam = problem
    x = prox_owl(v, lam).abs()
    down = v.abs().argsort(descending=True, stable=True)
    y = v.abs()[down] - lam
    for i in range(len(v) - 1):
        if y[i] <= y[i + 1]:
            assert x[down[i]] == x[down[i + 1]]


@pytest.mark.slow
@some
@given(problems(vs=2))
def test_the_dual_norm_bounds_every_product_and_is_attained(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    u, v, lam = problem
    dual, norm = float(owl_dual_norm(u, lam)), float(owl_norm(v, lam))
    if not lam.any():
        assert norm == 0
        assert dual == (np.inf if u.any() else 0)
        return
    assume(float(lam[0]) > 1e-290)  # else a quotient overflows
    assert float(u @ v) <= dual * norm * (1 + 1e-10) + 1e-10
    # attained by the signs of u's k largest, for some k
    down = u.abs().argsort(descending=True)
    best = 0.0
    for k in range(1, len(u) + 1):
        w = torch.zeros_like(u)
        w[down[:k]] = torch.sign(u[down[:k]])
        best = max(best, float(u @ w) / float(owl_norm(w, lam)) if w.any() else 0.0)
    assert abs(best - dual) <= 1e-10 * max(dual, 1e-300)


@pytest.mark.slow
@some
@given(problems(vs=2), st.floats(-4, 4))
def test_it_is_a_norm(problem: tuple[Tensor, Tensor, Tensor], c: float) -> None:
    v, w, lam = problem
    a, b = float(owl_norm(v, lam)), float(owl_norm(w, lam))
    assert float(owl_norm(v + w, lam)) <= (a + b) * (1 + 1e-12) + 1e-12
    assert abs(float(owl_norm(c * v, lam)) - abs(c) * a) <= 1e-11 * (1 + a)
    assert a >= 0


@pytest.mark.slow
@some
@given(problems())
def test_skglm_agrees(problem: tuple[Tensor, Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("skglm")
        from skglm.utils.prox_funcs import prox_SLOPE

    v, lam = problem
    down = v.abs().argsort(descending=True, stable=True)
    expected = torch.zeros_like(v)
    expected[down] = torch.from_numpy(prox_SLOPE(v.abs()[down].numpy(), lam.numpy())) * torch.sign(v[down])
    torch.testing.assert_close(prox_owl(v, lam), expected, rtol=0, atol=1e-12 * max(scale_of(v, lam), 1))


@pytest.mark.slow
@some
@given(st.lists(problems(), max_size=6))
def test_many_at_once_are_one_by_one(problems: list[tuple[Tensor, Tensor]]) -> None:
    together = prox_owl([v for v, _ in problems], [lam for _, lam in problems])
    assert len(together) == len(problems)
    for x, (v, lam) in zip(together, problems, strict=True):
        assert torch.equal(x, prox_owl(v, lam))


@pytest.mark.slow
@some
@given(problems(least=1))
def test_the_gradient_is_that_of_the_blocks(problem: tuple[Tensor, Tensor]) -> None:
    """The Jacobian is symmetric, a projection (J² = J), and maps v − sign·λ onto x, for x is linear where it holds."""
    v, lam = problem
    v = v + torch.linspace(0, 1e-3, len(v), dtype=torch.float64)  # off the kinks of ties
    J = torch.autograd.functional.jacobian(lambda v: prox_owl(v, lam), v)
    torch.testing.assert_close(J, J.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(J @ J, J, rtol=0, atol=1e-12)
    down = v.abs().argsort(descending=True, stable=True)
    shifted = v.clone()
    shifted[down] -= torch.sign(v[down]) * lam
    torch.testing.assert_close(J @ shifted, prox_owl(v, lam), rtol=0, atol=1e-10)
