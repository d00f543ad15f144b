"""The partition of a layer's rows: canonical labels, finding one in a matrix, and whether a matrix satisfies it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.clustering import partition
from torch_growl.mathematics.clustering.partition import PRUNED, Partition, first_rows, row_codes

labels = st.lists(st.integers(-1, 5), max_size=20)


def test_labels_are_renumbered_by_first_appearance() -> None:
    found = Partition((7, -1, 3, 7, 0))
    assert found.labels == (0, -1, 1, 0, 2)
    assert found == Partition((0, PRUNED, 1, 0, 2))
    assert hash(found) == hash(Partition((1, -1, 0, 1, 9)))
    assert (found.n_rows, found.nonzero, found.n_groups, found.sizes) == (5, 4, 3, (2, 1, 1))
    assert found != Partition((0, 0, 1, 0, 2))


def test_a_label_below_minus_one_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="row 1 has -2"):
        Partition((0, -2))


@pytest.mark.parametrize(("labels", "trivial"), [((), True), ((0, 1), True), ((0, 0), False), ((0, -1), False)])
def test_trivial(labels: tuple[int, ...], trivial: bool) -> None:
    assert Partition(labels).is_trivial is trivial


@settings(max_examples=100, deadline=None, derandomize=True)
@given(labels)
def test_labels_tensors_and_lists_are_one(labels: list[int]) -> None:
    found = Partition.from_labels(labels)
    assert Partition.from_labels(torch.tensor(labels, dtype=torch.int64)) == found
    assert Partition.from_labels(found.tensor()) == found
    assert found.tensor().dtype == torch.int64
    assert sum(found.sizes) == found.nonzero == sum(label >= 0 for label in labels)
    assert len(found.sizes) == found.n_groups == len({label for label in labels if label >= 0})


@settings(max_examples=100, deadline=None, derandomize=True)
@given(labels, st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]), st.integers(1, 4))
def test_a_partition_is_found_in_rows_that_satisfy_it(labels: list[int], dtype: torch.dtype, length: int) -> None:
    found = Partition.from_labels(labels)
    centroids = (torch.arange(found.n_groups * length).reshape(found.n_groups, length) + 1).to(dtype)
    W = torch.zeros(len(labels), length, dtype=dtype)
    alive = found.tensor() >= 0
    W[alive] = centroids[found.tensor()[alive]]
    assert Partition.from_rows(W) == found
    assert found.holds(W)
    assert found.holds(W.T.contiguous().T)
    for row in range(len(labels)):  # one changed row: a pruned or tied one breaks it, a single one does not
        broken = W.clone()
        broken[row, -1] += 1
        single = labels[row] >= 0 and labels.count(labels[row]) == 1
        assert found.holds(broken) == single
        if not single:
            assert Partition.from_rows(broken) != found


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_codes_are_equal_for_bit_equal_rows_only(dtype: torch.dtype) -> None:
    W = torch.randn(200, 5).to(dtype)
    W[100:] = W[:100]
    codes = row_codes(W)
    assert codes.dtype == torch.int64
    assert torch.equal(codes[:100], codes[100:])
    assert codes.unique().numel() == 100


def test_first_rows_of_groups() -> None:
    assert first_rows(Partition((-1, 0, 1, 0, -1, 2, 1))).tolist() == [1, 2, 5]
    assert first_rows(Partition((-1, -1))).tolist() == []
    assert first_rows(Partition(())).dtype == np.int64


def test_signed_zeros_are_equal() -> None:
    W = torch.tensor([[0.0, -0.0], [1.0, 0.0], [1.0, -0.0], [-0.0, -0.0]])
    assert Partition.from_rows(W).labels == (-1, 0, 0, -1)
    assert Partition((-1, 0, 0, -1)).holds(W)
    assert bool(torch.signbit(W[0, 1])), "the matrix is left as it was"


def test_close_rows_are_not_equal_rows() -> None:
    w = torch.tensor([1.0, 2.0])
    W = torch.stack([w, w, torch.nextafter(w, torch.tensor(9.0))])
    assert Partition.from_rows(W).labels == (0, 0, 1)
    assert not Partition((0, 0, 0)).holds(W)
    assert Partition((0, 1, 2)).holds(W), "equal rows may be in different groups"


def test_different_rows_with_one_code_are_in_different_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "row_codes", lambda W: torch.zeros(len(W), dtype=torch.int64))
    W = torch.tensor([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0], [1.0, 2.0]])
    assert Partition.from_rows(W).labels == (0, 1, -1, 0)


@pytest.mark.parametrize("shape", [(0, 3), (0, 0)])
def test_no_rows(shape: tuple[int, int]) -> None:
    W = torch.zeros(shape)
    assert Partition.from_rows(W) == Partition(())
    assert Partition(()).holds(W)


def test_rows_of_no_length_are_zero_rows() -> None:
    assert Partition.from_rows(torch.zeros(3, 0)).labels == (-1, -1, -1)


def test_other_shapes() -> None:
    with pytest.raises(InvalidValueError, match=r"2-D matrix .* got shape \(3,\)"):
        Partition.from_rows(torch.ones(3))
    assert not Partition((0, 0)).holds(torch.ones(3, 2))
    assert not Partition((0, 0)).holds(torch.ones(2))
