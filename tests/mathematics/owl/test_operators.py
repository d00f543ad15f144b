"""The OWL norm, its dual and its prox on chosen cases: fixtures, types, shapes, errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.support.reference_prox import SEQUENCES, scipy_prox
from tests.support.tolerances import DTYPES, close
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.mathematics.owl.operators import owl_dual_norm, owl_norm, prox_owl
from torch_growl.mathematics.owl.sequences import oscar, pld


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


FIXTURES = [
    (t(5, 2), t(4, 2), t(1, 0)),
    (t(3, 3), t(3, 3), t(0, 0)),
    (t(2, 1), t(3, 0), t(0, 0)),
    (t(2, -5), t(4, 2), t(0, -1)),
    (t(4, 4), t(3, 1), t(2, 2)),  # ties, drawn together
    (t(5, 4, 4), t(4, 1, 1), t(2, 2, 2) + t(1, 1, 1) / 3),  # y = 1, 3, 3: one block
    (t(10, 4, 3), t(1, 3, 1), None),  # not a λ
    (t(-7), t(2), t(-5)),
    (t(1), t(2), t(0)),
    (t(0), t(0), t(0)),
    (t(), t(), t()),
]


@pytest.mark.parametrize(("v", "lam", "x"), FIXTURES)
def test_fixtures(v: Tensor, lam: Tensor, x: Tensor | None) -> None:
    if x is None:
        with pytest.raises(InvalidValueError, match="non-increasing"):
            prox_owl(v, lam)
        return
    torch.testing.assert_close(prox_owl(v, lam), x, rtol=1e-15, atol=0)


def test_norms_written_out() -> None:
    v, lam = t(-1, 4, 2), t(3, 2, 1)
    assert float(owl_norm(v, lam)) == 4 * 3 + 2 * 2 + 1
    assert float(owl_dual_norm(v, lam)) == 4 / 3
    assert float(owl_dual_norm(t(2, 2, 2), lam)) == 1.0  # 6/6 > 4/5 > 2/3
    assert float(owl_norm(t(), t())) == 0.0
    assert float(owl_dual_norm(t(), t())) == 0.0
    assert float(owl_dual_norm(t(0, 0), t(0, 0))) == 0.0
    assert float(owl_dual_norm(t(0, -1e-300), t(0, 0))) == float("inf")
    assert float(owl_dual_norm(t(1, 1), t(1, 0))) == 2.0


# ── sizes, types, memory ────────────────────────────────────────────────────────────────────────────────────────────

SIZES = [0, 1, 2, 3, 46, 47, 48, 49, 300, 4095, 4096, 4097, 70_000]
LAMBDAS: dict[str, Callable[[int], Tensor]] = {
    **SEQUENCES,
    "spike": lambda n: torch.cat([torch.full((min(n, 1),), 0.5 * n), torch.zeros(max(n - 1, 0))]).double(),
}
VALUES: dict[str, Callable[[int], Tensor]] = {
    "normal": lambda n: torch.randn(n, dtype=torch.float64),
    "float32": lambda n: torch.randn(n).double(),
    "ties": lambda n: torch.randint(-5, 6, (n,)).double(),
    "equal": lambda n: torch.full((n,), -1.25, dtype=torch.float64),
    "rising": lambda n: torch.arange(n, dtype=torch.float64) / max(n, 1),
    "wide": lambda n: torch.randn(n, dtype=torch.float64) * torch.logspace(-200, 3, n, dtype=torch.float64),
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("shape", LAMBDAS)
@pytest.mark.parametrize("kind", VALUES)
def test_it_is_the_isotonic_regression_for_every_size(n: int, shape: str, kind: str) -> None:
    v, lam = VALUES[kind](n), LAMBDAS[shape](n)
    before, lam_before = v.clone(), lam.clone()
    x = prox_owl(v, lam)
    scale = max(float(v.abs().max()), float(lam[0])) if n else 1.0
    # both sum one by one: in a block of 70,000 they were 3e-13 apart
    torch.testing.assert_close(x, scipy_prox(v, lam), rtol=0, atol=(1e-12 if n == 70_000 else 1e-13) * scale)
    assert torch.equal(v, before)
    assert torch.equal(lam, lam_before)


@pytest.mark.parametrize("n", [1, 30, 784, 5000])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_is_computed_in_float64_and_rounded_once(n: int, dtype: torch.dtype) -> None:
    v = (3 * torch.randn(n)).to(dtype)
    lam = 1.2 * pld()(n)
    for given in (lam, lam.float().double()):
        x = prox_owl(v, given)
        assert x.dtype == dtype
        torch.testing.assert_close(x, scipy_prox(v, given).to(dtype), **close(dtype))
        assert x.unique().numel() <= v.unique().numel()
    assert prox_owl(v, lam.to(torch.float32)).dtype == dtype
    assert owl_norm(v, lam).dtype == owl_dual_norm(v, lam).dtype == dtype
    exact = (v.double().abs().sort(descending=True).values * lam).sum()
    torch.testing.assert_close(owl_norm(v, lam), exact.to(dtype), **close(dtype))


def test_a_float32_block_of_a_million_keeps_its_sum() -> None:
    n = 1_000_000
    v = torch.rand(n) + 100
    lam = oscar(lambda1=0.0, lambda2=1e-4)(n)  # steep enough that all are one block
    x = prox_owl(v, lam)
    assert x.unique().numel() == 1
    expected = float((v.double() - lam).mean())
    assert float(x[0]) == pytest.approx(expected, rel=1e-7)  # float32 sums would be 3.8e-4 off


@pytest.mark.parametrize("n", [20, 200])
def test_memory_layout_does_not_matter(n: int) -> None:
    v, lam = torch.randn(n, 3, dtype=torch.float64), pld()(2 * n)
    expected = prox_owl(v[:, 1].contiguous(), lam[::2].contiguous())
    assert torch.equal(prox_owl(v[:, 1], lam[::2]), expected)
    assert torch.equal(prox_owl(v[:, 1].flip(0), lam[::2]), expected.flip(0))
    assert torch.equal(prox_owl(v[:1, 1].expand(n), lam[::2]), prox_owl(v[:1, 1].repeat(n), lam[::2]))


def test_the_result_is_new_memory() -> None:
    v = torch.randn(5, dtype=torch.float64)
    x = prox_owl(v, torch.zeros(5, dtype=torch.float64))
    x += 1
    assert not torch.equal(x, v)


@pytest.mark.parametrize("scale", [1e-310, 1e-300, 1e-30, 1e30, 1e300, 1.5e307])
def test_huge_and_tiny_scales(scale: float) -> None:
    v, lam = t(9, -8, 8, 7.5, -2, 0), t(4, 2, 1, 1, 1, 0.5)
    torch.testing.assert_close(prox_owl(v * scale, lam * scale) / scale, scipy_prox(v, lam), rtol=1e-12, atol=0)


def test_rounding_does_not_part_equal_values() -> None:
    """λ falls by an ulp or two among equal values: pooled one by one, the sums' rounding would part them."""
    v, lam = torch.full((31,), 2.85, dtype=torch.float64), torch.ones(31, dtype=torch.float64)
    lam[:26] += 2.0**-50
    assert prox_owl(v, lam).unique().numel() == 1


@pytest.mark.parametrize("n", [3, 10, 47, 200])
def test_many_equal_values_under_a_constant_lambda_are_not_averaged(n: int) -> None:
    """Ten times 0.1 is not 1.0."""
    for c in (0.1, 0.2, 0.7):
        x = prox_owl(torch.full((n,), 0.9, dtype=torch.float64), torch.full((n,), c, dtype=torch.float64))
        assert x.tolist() == [0.9 - c] * n


def test_zero_lambda_is_the_identity_bit_for_bit() -> None:
    for dtype in DTYPES:
        v = torch.cat([torch.randn(100), torch.tensor([0.0, -0.0, 1e-7, -1e-7, 60000.0])]).to(dtype)
        x = prox_owl(v, torch.zeros(len(v), dtype=torch.float64))
        assert torch.equal(x, v)
        assert torch.equal(torch.signbit(x), torch.signbit(v))


# ── many at once ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_at_once_are_one_by_one_bit_for_bit() -> None:
    sizes = [0, 3, 1, 700, 64, 0, 5000, 2]
    types = [DTYPES[k % 4] for k in range(len(sizes))]
    vs = [torch.randn(n).to(dtype) for n, dtype in zip(sizes, types, strict=True)]
    lams = [pld()(n).to(torch.float32 if n == 64 else torch.float64) for n in sizes]
    together = prox_owl(vs, lams)
    assert isinstance(together, list)
    assert len(together) == len(sizes)
    for x, v, lam in zip(together, vs, lams, strict=True):
        alone = prox_owl(v, lam)
        assert x.dtype == alone.dtype == v.dtype
        assert torch.equal(x, alone)
    assert prox_owl([], []) == []
    assert torch.equal(prox_owl((v for v in vs[3:4]), lams[3:4])[0], together[3])


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ONE = torch.ones(2, dtype=torch.float64)
SPOILT = torch.tensor([1.0, float("nan"), float("-inf")])
ALL = [prox_owl, owl_norm, owl_dual_norm]


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize(
    ("v", "lam", "error", "words"),
    [
        (torch.tensor([1, 2]), ONE, InvalidTypeError, "must be a dense float16, .* tensor, got torch.int64"),
        (torch.tensor([1j, 2]), ONE, InvalidTypeError, "got torch.complex64"),
        (torch.ones(2).to_sparse(), ONE, InvalidTypeError, "torch.sparse_coo"),
        (torch.ones(2).to(torch.float8_e4m3fn), ONE, InvalidTypeError, "got torch.float8"),
        (torch.ones(1, 2), ONE, InvalidValueError, r"must be 1-D, got shape \(1, 2\)"),
        (torch.tensor(1.0), ONE, InvalidValueError, r"must be 1-D, got shape \(\)"),
        (SPOILT, torch.ones(3), InvalidValueError, "must be finite; 2 of its 3 values are NaN or infinite .*learning"),
        (torch.ones(2), torch.tensor([1, 1]), InvalidTypeError, "λ must be a dense float16, .* torch.int64"),
        (torch.ones(2), torch.ones(3), InvalidValueError, "one value for each of 2 rows"),
        (torch.ones(2), torch.ones(2, 1), InvalidValueError, "λ must be 1-D"),
        (torch.ones(2), torch.tensor([1.0, 2.0]), InvalidValueError, r"non-increasing .* λ\[1\] = 2 after λ\[0\] = 1"),
        (torch.ones(2), torch.tensor([1.0, -2.0]), InvalidValueError, r"non-negative; λ\[1\] = -2"),
        (torch.ones(2), torch.tensor([float("inf"), 1.0]), InvalidValueError, r"λ must be finite; λ\[0\] = inf"),
        (torch.ones(2), torch.tensor([1.0, float("nan")]), InvalidValueError, r"λ must be finite; λ\[1\] = nan"),
    ],
)
def test_bad_input_is_refused(
    function: Callable[..., Tensor], v: Tensor, lam: Tensor, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        function(v, lam)


def test_bad_lists_are_refused() -> None:
    with pytest.raises(InvalidTypeError, match="both be tensors, or both be lists"):
        prox_owl(ONE, [ONE])  # type: ignore[call-overload]
    with pytest.raises(InvalidValueError, match="equally many tensors, got 2 and 1"):
        prox_owl([ONE, ONE], [ONE])
    with pytest.raises(InvalidTypeError, match="must be a torch.Tensor, got float"):
        prox_owl([1.0], [ONE])  # type: ignore[list-item]
    with pytest.raises(InvalidTypeError, match="must be a torch.Tensor, got float"):
        owl_norm(1.0, ONE)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="must be finite; 2 of its 3 values"):
        prox_owl([ONE.float(), SPOILT], [ONE, torch.ones(3)])
    with pytest.raises(InvalidValueError, match=r"λ\[1\] = 2 after"):
        prox_owl([ONE, ONE], [ONE, t(1, 2)])
    with pytest.raises(InvalidTypeError, match="λ must be a torch.Tensor, got float"):
        prox_owl([ONE], [1.0])  # type: ignore[list-item]


@pytest.mark.slow
def test_numba_is_loaded_only_when_a_prox_is_asked_for() -> None:
    code = (
        "import sys, torch, torch_growl.mathematics.owl.operators as o\n"
        "assert not {'numba', 'sklearn'} & set(sys.modules)\n"
        "o.prox_owl(torch.ones(2), torch.ones(2)); assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
