"""Groups of rows set to their means in place: bit-equal members, all other rows as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torch_growl.mathematics.clustering import Partition
from torch_growl.networks.layers import rows_of
from torch_growl.networks.tying.row_groups import RowGroups

LABELS = (0, 1, -1, 0, 2, 2, 3, 0)  # groups of three and of two, one pruned row, two alone
LAYERS = {
    "Linear": lambda: nn.Linear(8, 5),
    "Linear, one output": lambda: nn.Linear(8, 1),
    "Conv1d": lambda: nn.Conv1d(8, 5, 3),
    "Conv2d": lambda: nn.Conv2d(8, 5, 3),
    "Conv2d, channels last": lambda: nn.Conv2d(8, 5, 3).to(memory_format=torch.channels_last),
    "Conv2d, 2 groups": lambda: nn.Conv2d(8, 6, 3, groups=2),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(8, 5, 3),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_members_get_their_mean_to_the_bit_and_other_rows_stay(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().to(dtype)
    before, groups = rows_of(layer).detach().clone(), RowGroups(Partition(LABELS))
    groups.average_(layer)
    after = rows_of(layer)
    for members in ([0, 3, 7], [4, 5]):
        assert (after[members] == after[members[0]]).all()
        torch.testing.assert_close(after[members[0]], before[members].double().mean(0).to(dtype))
    assert torch.equal(after[[1, 2, 6]], before[[1, 2, 6]])
    assert layer.weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_rows_that_are_equal_already_stay_as_they_are(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, groups = nn.Linear(8, 400).to(dtype), RowGroups(Partition(LABELS))
    groups.average_(layer)
    before = layer.weight.detach().clone()
    groups.average_(layer)
    assert torch.equal(layer.weight, before)


def test_another_tensor_can_be_changed_instead() -> None:
    torch.manual_seed(0)
    layer, other = nn.Linear(8, 5), torch.randn(5, 8)
    before, groups = layer.weight.detach().clone(), RowGroups(Partition(LABELS))
    groups.average_(layer, weight=other)
    assert torch.equal(layer.weight, before)
    assert (other[:, 3] == other[:, 0]).all()


def test_labels_are_first_rows_and_rows_can_leave() -> None:
    groups = RowGroups(Partition(LABELS))
    assert groups.labels.tolist() == [0, 1, 2, 0, 4, 4, 6, 0]
    assert groups.distinct(torch.tensor([True, True, False, True, False, True, False, False])) == 3
    fewer = groups.without(torch.tensor([True, False, False, False, False, True, False, False]))
    assert fewer.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 3]
    assert len(groups) == 2
    assert len(fewer) == 1
    assert len(RowGroups(Partition((0, 1, 2)))) == 0
