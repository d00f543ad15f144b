"""States with whole tensors of sharded networks and optimizers; with several processes see tests/distributed."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from tests.support.fake_processes import playing
from torch_growl.networks.sharding import (
    is_sharded,
    load_whole_,
    load_whole_optimizer_,
    local_of,
    whole_state,
)


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def stepped(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for seed in range(2):
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return optimizer


def test_a_sharded_training_has_the_state_of_one_process_and_goes_on_from_it() -> None:
    plain = network(0)
    wanted = (plain.state_dict(), stepped(plain).state_dict())
    with playing(0, 1):
        mesh = init_device_mesh("cpu", (1,))
        model = network(0)
        fully_shard(model[0], mesh=mesh)
        fully_shard(model, mesh=mesh)
        optimizer = stepped(model)
        found = whole_state(model), whole_state(optimizer.state_dict())
        torch.testing.assert_close(found, wanted)
        assert found[0]._metadata == model.state_dict()._metadata
        assert whole_state(optimizer.state_dict(), kept=False)["state"][0]["exp_avg"].numel() == 0

        other = network(1)
        fully_shard(other, mesh=mesh)
        load_whole_(other, wanted[0])
        again = torch.optim.AdamW(other.parameters(), lr=0.5)
        load_whole_optimizer_(again, wanted[1])
        assert all(is_sharded(p) and is_sharded(again.state[p]["exp_avg"]) for p in other.parameters())
        assert torch.equal(local_of(other[0].weight), plain[0].weight)
        torch.testing.assert_close((whole_state(other), whole_state(again.state_dict())), wanted)


def test_the_state_of_a_plain_network_is_its_own() -> None:
    state = network(0).state_dict()
    assert whole_state(state) is state
