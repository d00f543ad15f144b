"""The modules that FSDP2 changes keep their type of layer."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrize

import torch_growl as tg
from tests.support.fake_processes import playing
from torch_growl.networks.sharding import is_flat, layer_type, reshard_, sharded_modules


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_a_layer_keeps_its_type_when_sharded_and_parametrized() -> None:
    with playing(0, 2):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        parametrize.register_parametrization(model[1], "bias", Twice())
        for layer in model[:2]:
            fully_shard(layer)
        fully_shard(model)
        assert [layer_type(layer) for layer in model] == [nn.Linear] * 3
        assert layer_type(model) is nn.Sequential
        assert sharded_modules(model) == [model, model[0], model[1]]
        assert not is_flat(model)
        assert [info.type_name for info in tg.inspect_layers(model)] == ["Linear"] * 3
        assert [(info.n_rows, info.row_length) for info in tg.inspect_layers(model)] == [(4, 4), (4, 4), (4, 2)]


def test_weights_that_were_gathered_for_a_run_are_given_back() -> None:
    with playing(0, 2):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        fully_shard(model)
        with torch.no_grad():
            model(torch.ones(2, 4))
        assert not hasattr(model[0].weight, "placements")
        reshard_(sharded_modules(model))
        assert hasattr(model[0].weight, "placements")
