"""Sums over processes: nothing is sent for what is whole; with several processes see tests/distributed."""

from __future__ import annotations

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.debug import CommDebugMode

from tests.support.fake_processes import playing
from torch_growl.networks.sharding.exchange import Part, Pending, as_first_, summed


def test_whole_shares_are_sums_already_and_nothing_is_sent() -> None:
    values = torch.ones(3, dtype=torch.float64)
    assert summed([]) == []
    assert summed([Part(values)])[0] is values


def test_shares_of_one_group_are_sent_together_and_of_several_too_if_a_mesh_covers_all() -> None:
    ones = torch.ones(3, dtype=torch.float64)
    with playing(1, 4):
        whole, half = init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b")), None
        half = whole["b"]
        for parts, count in (
            ([Part(ones, whole, (0,)), Part(ones, whole, (0,)), Part(ones)], 1),
            ([Part(ones, whole, (0, 1)), Part(ones, half, (0,))], 1),
            ([Part(ones, half, (0,)), Part(ones, half, (0,))], 1),
        ):
            with CommDebugMode() as counted:
                sums = summed(parts)
            assert counted.get_total_counts() == count
            assert [len(each) for each in sums] == [3] * len(parts)


def test_a_pending_number_is_finished_with_its_sums_and_its_factors() -> None:
    pending = Pending([Part(torch.zeros(1))], lambda sums: float(sums[0]) + 1) * 2 * 3
    assert pending.value([torch.tensor([4.0])]) == 30.0


def test_one_process_is_the_first_and_of_several_each_tensor_is_sent_whole() -> None:
    values = torch.arange(4.0)
    as_first_(values)
    with playing(1, 2), CommDebugMode() as counted:
        as_first_(values, torch.zeros(2, 3).t())
    assert counted.get_total_counts() == 2
    assert values.tolist() == [0, 1, 2, 3]
