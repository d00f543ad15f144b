"""The sequences λ: their formulae, their ranges, and the check of an explicit λ."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from scipy import stats

from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.mathematics.owl.sequences import (
    LambdaSequence,
    check_lambda,
    group_slope,
    lasso,
    oscar,
    pld,
    sequence_from_dict,
    slope,
)

RELATIVE = [
    lasso(),
    oscar(),
    oscar(0.0),
    oscar(1),
    pld(),
    pld(p=0.5, floor=0.3),
    pld(p=1.0, floor=0),
    pld(p=0.01, floor=0.1),
    pld(p=1 / 3, floor=0.7),
]
ABSOLUTE = [
    oscar(lambda1=0.5, lambda2=0.01),
    oscar(lambda1=0, lambda2=0),
    pld(lambda1=12, lambda2=0.235),
    pld(p=0.1, lambda1=0, lambda2=1.5),
    slope(),
    slope(q=0.9),
    group_slope(),
    group_slope(q=0.5),
]
SIZES = [0, 1, 2, 3, 10, 784]


@pytest.mark.parametrize("sequence", RELATIVE + ABSOLUTE, ids=repr)
@pytest.mark.parametrize("n", SIZES)
def test_a_sequence_is_a_lambda(sequence: LambdaSequence, n: int) -> None:
    lam = sequence(n, row_length=300)
    assert lam.shape == (n,)
    assert lam.dtype == torch.float64
    assert torch.equal(check_lambda(lam, n), lam)


@pytest.mark.parametrize("sequence", RELATIVE, ids=repr)
@pytest.mark.parametrize("n", SIZES[1:])
def test_relative_shapes_begin_at_exactly_one(sequence: LambdaSequence, n: int) -> None:
    assert float(sequence(n)[0]) == 1.0


@pytest.mark.parametrize("sequence", RELATIVE + ABSOLUTE, ids=repr)
def test_a_sequence_is_a_value(sequence: LambdaSequence) -> None:
    for twin in (sequence_from_dict(sequence.to_dict()), pickle.loads(pickle.dumps(sequence)), eval(repr(sequence))):
        assert math.isclose(*(float(s(7, row_length=3).sum()) for s in (twin, sequence)), rel_tol=1e-5)
    assert sequence_from_dict(sequence.to_dict()) == sequence
    assert hash(sequence_from_dict(sequence.to_dict())) == hash(sequence)
    with pytest.raises(AttributeError):
        sequence.q = 0.2  # type: ignore[attr-defined]


def test_sequences_differ_by_kind_and_parameters() -> None:
    assert len(set(RELATIVE[:3] + RELATIVE[4:5] + RELATIVE[6:] + ABSOLUTE)) == 7 + len(ABSOLUTE)
    assert slope(0.1) != group_slope(0.1)
    assert oscar() == oscar(0.3)
    assert pld() == pld(0.5, 0.3)


def test_dicts_and_reprs() -> None:
    assert pld(p=0.5, floor=0.3).to_dict() == {"name": "pld", "p": 0.5, "floor": 0.3}
    assert repr(pld(lambda1=12, lambda2=0.235)) == "pld(p=0.5, lambda1=12, lambda2=0.235)"
    assert lasso().to_dict() == {"name": "lasso"}
    assert sequence_from_dict({"name": "pld", "floor": 0.2, "lambda1": None}) == pld(floor=0.2)


def expect(sequence: LambdaSequence, n: int, values: list[float], **keywords: int) -> None:
    torch.testing.assert_close(
        sequence(n, **keywords), torch.tensor(values, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )


def test_formulae_written_out() -> None:
    expect(lasso(), 3, [1, 1, 1])
    expect(oscar(floor=0.4), 4, [1.0, 0.8, 0.6, 0.4])
    expect(oscar(lambda1=2, lambda2=0.5), 4, [3.5, 3.0, 2.5, 2.0])
    expect(pld(p=0.5, floor=0.4), 6, [1.0, 0.8, 0.6, 0.4, 0.4, 0.4])  # 0.4 + 0.6·(3 − i + 1)/3
    expect(pld(p=0.5, lambda1=12, lambda2=0.25), 5, [12.5, 12.25, 12, 12, 12])  # P = ⌊2.5⌋
    expect(pld(p=0.5, lambda1=12, lambda2=0.25), 1, [12])
    expect(pld(p=0.01, floor=0.1), 3, [1.0, 0.1, 0.1])
    assert int((pld(p=0.29, floor=0.3)(100) > 0.3).sum()) == 29  # not 28: 0.29 · 100 is 28.999999999999996


def test_the_paper_s_pld_on_mnist() -> None:
    lam = pld(p=0.5, lambda1=12, lambda2=0.235)(784)
    assert float(lam[0]) == pytest.approx(12 + 392 * 0.235)
    assert float(lam[391]) == pytest.approx(12.235)
    assert float(lam[392]) == 12.0


@pytest.mark.parametrize("q", [0.05, 0.5, 0.99])
def test_slope_is_the_normal_quantile_and_group_slope_the_chi_quantile(q: float) -> None:
    n = 40
    expect(slope(q), n, [stats.norm.ppf(1 - i * q / (2 * n)) for i in range(1, n + 1)])
    for d in (1, 9, 300):
        expect(group_slope(q), n, [stats.chi(d).ppf(1 - i * q / n) for i in range(1, n + 1)], row_length=d)
    expect(group_slope(q), n, slope(q)(n).tolist(), row_length=1)  # χ_1 is |normal|


def test_slope_is_finite_for_many_rows() -> None:
    assert float(slope(1e-12)(10**6)[0]) == pytest.approx(-stats.norm.ppf(5e-19), rel=1e-9)


BAD = [
    (lambda: pld(p=0), InvalidValueError, r"pld: p must be in \(0, 1\], got 0"),
    (lambda: pld(p=1.1), InvalidValueError, r"pld: p must be in \(0, 1\], got 1.1"),
    (lambda: pld(p="half"), InvalidTypeError, "pld: p must be a number, got str"),
    (lambda: pld(floor=-0.1), InvalidValueError, r"pld: floor must be in \[0, 1\], got -0.1"),
    (lambda: pld(floor=float("nan")), InvalidValueError, "pld: floor must be in .* got nan"),
    (lambda: pld(floor=True), InvalidTypeError, "pld: floor must be a number, got bool"),
    (lambda: pld(floor=0.1, lambda1=1, lambda2=1), InvalidValueError, r"pld: floor \(relative\) and lambda1"),
    (lambda: pld(floor=0.3, lambda2=1), InvalidValueError, r"exclude one another"),
    (lambda: pld(lambda1=1), InvalidValueError, "pld: lambda2 is missing"),
    (lambda: pld(lambda2=1), InvalidValueError, "pld: lambda1 is missing"),
    (lambda: pld(lambda1=-1, lambda2=1), InvalidValueError, "pld: lambda1 must be finite and ≥ 0, got -1"),
    (lambda: oscar(lambda1=1, lambda2=-2), InvalidValueError, "oscar: lambda2 must be finite and ≥ 0, got -2"),
    (
        lambda: oscar(lambda1=1, lambda2=float("inf")),
        InvalidValueError,
        "lambda2 must be finite and ≥ 0, got inf",
    ),
    (lambda: oscar(2), InvalidValueError, r"oscar: floor must be in \[0, 1\], got 2"),
    (lambda: slope(0), InvalidValueError, r"slope: q must be in \(0, 1\), got 0"),
    (lambda: group_slope(1), InvalidValueError, r"group_slope: q must be in \(0, 1\), got 1"),
    (lambda: group_slope()(3), InvalidValueError, "group_slope needs row_length"),
    (lambda: group_slope()(3, row_length=0), InvalidValueError, "row_length must be an integer ≥ 1, got 0"),
    (lambda: group_slope()(3, row_length=1.5), InvalidTypeError, "row_length must be an integer ≥ 1, got 1.5"),
    (lambda: sequence_from_dict({"name": "pdl"}), InvalidValueError, "unknown sequence 'pdl'; did you mean 'pld'"),
    (lambda: sequence_from_dict({}), InvalidValueError, "unknown sequence None; there are lasso, oscar"),
    (lambda: sequence_from_dict({"name": "slope", "p": 0.5}), InvalidValueError, "'slope' has no field p; it has q"),
    (lambda: sequence_from_dict({"name": "lasso", "q": 1}), InvalidValueError, "it has no fields"),
    (lambda: sequence_from_dict({"name": "slope", "q": 2}), InvalidValueError, r"slope: q must be in \(0, 1\)"),
    (lambda: sequence_from_dict("pld"), InvalidTypeError, "must be a mapping such as .* got str"),
]


@pytest.mark.parametrize(("make", "error", "words"), BAD)
def test_bad_parameters_are_named(make: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("sequence", RELATIVE + ABSOLUTE, ids=repr)
def test_a_bad_number_of_rows_is_refused(sequence: LambdaSequence) -> None:
    with pytest.raises(InvalidValueError, match="n must be an integer ≥ 0, got -1"):
        sequence(-1, row_length=2)
    for n in (2.0, True, None):
        with pytest.raises(InvalidTypeError, match=f"n must be an integer ≥ 0, got {n}"):
            sequence(n, row_length=2)  # type: ignore[arg-type]


BAD_LAMBDA = [
    ([1.0, 2.0], InvalidTypeError, "λ must be a torch.Tensor, got list"),
    (torch.tensor([2, 1]), InvalidTypeError, "got torch.int64"),
    (torch.tensor([2 + 1j, 1]), InvalidTypeError, "got torch.complex64"),
    (torch.ones(3), InvalidValueError, r"one value for each of 2 rows, got shape \(3,\)"),
    (torch.ones(2, 1), InvalidValueError, r"1-D .* got shape \(2, 1\)"),
    (torch.tensor(1.0), InvalidValueError, r"got shape \(\)"),
    (torch.tensor([1.0, math.nan]), InvalidValueError, r"finite; λ\[1\] = nan"),
    (torch.tensor([math.inf, 1.0]), InvalidValueError, r"finite; λ\[0\] = inf"),
    (torch.tensor([1.0, -0.5]), InvalidValueError, r"non-negative; λ\[1\] = -0.5"),
    (torch.tensor([1.0, 1.5]), InvalidValueError, r"non-increasing .*; λ\[1\] = 1.5 after λ\[0\] = 1"),
]


@pytest.mark.parametrize(("lam", "error", "words"), BAD_LAMBDA)
def test_a_bad_lambda_is_explained(lam: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_lambda(lam, 2)  # type: ignore[arg-type]
