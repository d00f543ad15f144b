"""Rows of sharded weights that are averaged after every step; with several processes see tests/distributed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import torch_growl as tg
from tests.support.fake_processes import playing
from torch_growl.errors import LayerError
from torch_growl.mathematics.clustering import Partition
from torch_growl.networks.sharding import local_of
from torch_growl.networks.tying.averaging import SharedRows, average_after_


def sharded(model: nn.Sequential, dim: int) -> SharedRows:
    mesh = init_device_mesh("cpu", (2,))
    weight = distribute_tensor(model[0].weight.detach(), mesh, [Shard(dim)], src_data_rank=None)
    model[0].weight = nn.Parameter(weight)
    return SharedRows("0", model[0], Partition((0, 0, -1, 1, 0)), "input")


def test_parts_of_tied_rows_get_their_mean_after_each_step() -> None:
    with playing(0, 2):
        model = nn.Sequential(nn.Linear(5, 4))
        layer = sharded(model, 0)
        optimizer = torch.optim.SGD([model[0].weight], lr=0.1)
        average_after_(model, [layer], optimizer)
        for _ in range(2):
            rows = local_of(model[0].weight).detach().T.clone()  # (5, 2): a part of each row
            assert torch.equal(rows[0], rows[1])
            assert torch.equal(rows[0], rows[4])
            assert (rows[2] == 0).all()
            gradient = torch.arange(10.0).reshape(2, 5)
            mesh = model[0].weight.device_mesh
            model[0].weight.grad = torch.distributed.tensor.DTensor.from_local(gradient, mesh, [Shard(0)])
            optimizer.step()
            after = local_of(model[0].weight).detach().T
            wanted = rows[0] - 0.1 * gradient.T[[0, 1, 4]].mean(0)
            torch.testing.assert_close(after[0], wanted)


def test_what_cannot_be_averaged_is_refused_and_nothing_is_changed() -> None:
    with playing(0, 2):
        model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2))
        layer = sharded(model, 0)
        before = local_of(model[0].weight).detach().clone()
        with pytest.raises(LayerError, match="give tie_ the optimizer that trains it"):
            average_after_(model, [layer], None)
        with pytest.raises(LayerError, match="does not train the weight of '0'"):
            average_after_(model, [layer], torch.optim.SGD(model[1].parameters(), lr=0.1))
        assert torch.equal(local_of(model[0].weight), before)
        average_after_(model, [], None)
    with pytest.raises(LayerError, match="there is nothing to untie"):
        tg.untie_(nn.Sequential(nn.Linear(2, 2)))
