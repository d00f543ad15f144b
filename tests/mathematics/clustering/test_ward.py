"""Ward's method on the directions of rows: against scipy, and on rows whose groups are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import ward

from tests.support.rows import grouped_rows
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.mathematics.clustering.ward import merge_rows


def test_rows_of_one_direction_and_any_length_are_one_group() -> None:
    W = grouped_rows(40, 5, 0.02, 20, spread=1.5)  # row i belongs to group i mod 5
    W[[7, 31]] = 0
    partition = merge_rows(W, 5)
    assert partition.n_groups == 5
    assert [i for i, label in enumerate(partition.labels) if label < 0] == [7, 31]  # zero rows are in no group
    labels = np.array(partition.labels).reshape(8, 5)
    assert all(len(set(column[column >= 0])) == 1 for column in labels.T)


@pytest.mark.parametrize("groups", [1, 3, 9, 20])
def test_it_is_wards_method_on_directions(groups: int) -> None:
    W = torch.randn(30, 6, generator=torch.Generator().manual_seed(groups))
    partition = merge_rows(W, groups)
    assert partition.n_groups == groups
    tree = ward((W / W.norm(dim=1, keepdim=True)).double().numpy())
    members: dict[int, frozenset[int]] = {i: frozenset([i]) for i in range(30)}
    for step, (a, b, _, _) in enumerate(tree[: 30 - groups]):
        members[30 + step] = members.pop(int(a)) | members.pop(int(b))
    ours = {frozenset(np.flatnonzero(np.array(partition.labels) == g).tolist()) for g in range(groups)}
    assert ours == set(members.values())


def test_equal_rows_stay_together_and_fewer_rows_than_groups_are_the_groups() -> None:
    W = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    W[3:] = W[:3]
    assert merge_rows(W, 10).labels == (0, 1, 2, 0, 1, 2)
    assert merge_rows(W, 2).n_groups == 2
    assert merge_rows(torch.zeros(4, 3), 2).n_groups == 0


def test_extreme_lengths_do_not_overflow() -> None:
    W = torch.tensor([[1e30, 1e30], [1e-30, 1e-30], [1e30, -1e30], [3e-30, -3e-30]])
    assert merge_rows(W, 2).labels == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("groups", "error"), [(0, InvalidValueError), (True, InvalidTypeError), (2.0, InvalidTypeError)]
)
def test_bad_numbers_of_groups(groups: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"groups must be an integer ≥ 1, got {groups}"):
        merge_rows(torch.ones(3, 2), groups)  # type: ignore[arg-type]
