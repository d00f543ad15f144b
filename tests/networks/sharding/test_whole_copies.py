"""Plain copies of sharded networks; with several processes see tests/distributed."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from tests.support.fake_processes import playing
from torch_growl.networks.layers import plain_copy
from torch_growl.networks.sharding import is_spread


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_copy_has_plain_classes_whole_weights_and_only_the_users_hooks() -> None:
    with playing(0, 1):
        mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("data", "model"))
        model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2))
        model.first = [model[0]]  # a reference that stays one
        model[0].register_forward_hook(lambda *_: None)
        plain = {name: value.clone() for name, value in model.state_dict().items()}
        parallelize_module(model[1][0], mesh["model"], ColwiseParallel())
        fully_shard(model[0], mesh=mesh["data"])
        fully_shard(model, mesh=mesh["data"])
        assert is_spread(model)
        small = plain_copy(model)
        assert not is_spread(small)
        assert [type(module) for module in small] == [nn.Linear, nn.Sequential, nn.Linear]
        assert small.first[0] is small[0]
        assert hooks(small) == 1
        assert all(torch.equal(value, plain[name]) for name, value in small.state_dict().items())
        assert all(type(p) is nn.Parameter and p.requires_grad for p in small.parameters())
        with torch.no_grad():
            small[0].weight.zero_()
            assert bool((model[0].weight.to_local() != 0).any())
    assert not is_spread(nn.Linear(2, 2))
