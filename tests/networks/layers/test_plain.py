"""The plain network: inside wrappers, without parametrizations, as a copy."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from torch_growl.errors import CompactionError
from torch_growl.networks.layers.plain import (
    clean_name,
    make_plain_,
    own_memory_,
    plain_copy,
    plain_model,
    remove_training_hooks_,
    sharing_copy,
    training_hook,
)


def test_wrappers_are_looked_through() -> None:
    model = nn.Linear(3, 4)
    assert plain_model(torch.compile(nn.DataParallel(model))) is model
    assert clean_name("a._orig_mod.b") == "a.b"


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def doubled() -> nn.Linear:
    layer = nn.Linear(3, 4)
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


def test_a_parametrized_weight_becomes_a_plain_parameter_of_its_value() -> None:
    layer = doubled()
    value = layer.weight.detach().clone()
    make_plain_(layer, "weight")
    assert isinstance(layer.weight, nn.Parameter)
    assert torch.equal(layer.weight, value)
    assert type(layer) is nn.Linear


def test_copies_that_share_a_parametrized_class_do_not_break_each_other() -> None:
    layer = doubled()
    twin = copy.deepcopy(layer)
    make_plain_(twin, "weight")
    assert parametrize.is_parametrized(layer, "weight")
    assert torch.equal(layer.weight, twin.weight)


def test_a_plain_copy_has_no_wrappers_and_no_parametrizations_and_shares_nothing() -> None:
    model = nn.Sequential(torch.compile(nn.Linear(4, 3)), doubled())
    plain = plain_copy(nn.DataParallel(model))
    assert [type(module) for module in plain.modules()] == [nn.Sequential, nn.Linear, nn.Linear]
    assert torch.equal(plain[1].weight, model[1].weight)
    assert parametrize.is_parametrized(model[1], "weight")
    assert not {p.data_ptr() for p in plain.parameters()} & {p.data_ptr() for p in model.parameters()}


def test_a_network_that_cannot_be_copied_is_an_error() -> None:
    class Stuck(nn.Linear):
        def __deepcopy__(self, memo: object) -> object:
            raise RuntimeError("a lock\nis held")

    with pytest.raises(CompactionError, match=r"the network cannot be copied: a lock$"):
        plain_copy(Stuck(2, 2))


def test_a_sharing_copy_has_the_memory_of_the_parameters_until_it_gets_its_own() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Embedding(4, 3, max_norm=1.0))
    model[2].weight = model[0].weight  # tied
    twin = sharing_copy(model)
    for (name, mine), theirs in zip(twin.named_parameters(), model.parameters(), strict=True):
        assert mine is not theirs
        assert (mine.data_ptr() == theirs.data_ptr()) == (name != "3.weight")
    assert twin[2].weight is twin[0].weight
    assert twin[1].running_mean.data_ptr() != model[1].running_mean.data_ptr()
    own_memory_(twin[0])
    with torch.no_grad():
        twin[0].weight.fill_(7.0)
    assert torch.equal(twin[2].weight, torch.full((3, 3), 7.0))
    assert not bool((model[0].weight == 7).any())


def test_empty_dicts_and_sets_of_a_copy_are_its_own() -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    network[0].seen, network[0].table = set(), {}  # type: ignore[assignment]
    copied = sharing_copy(network)
    copied[0].register_forward_hook(lambda module, args, result: result * 0)  # type: ignore[index]
    copied[0].seen.add(1)  # type: ignore[index, union-attr, operator]
    copied[0].table[1] = 1  # type: ignore[index, operator]
    assert not network[0]._forward_hooks
    assert not network[0].seen
    assert not network[0].table
    assert bool(network(torch.ones(1, 3)).any())


def test_a_copy_is_made_without_the_hooks_that_are_there_for_a_training() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    hook = training_hook(lambda module, args, output: output * 0)
    network[0].register_forward_hook(hook)
    network.register_forward_hook(training_hook(lambda module, args, kwargs, output: output), with_kwargs=True)
    kept = network[1].register_forward_hook(lambda module, args, output: output + 1)
    copied = plain_copy(network)
    assert not copied[0]._forward_hooks
    assert list(copied[1]._forward_hooks) == [kept.id]
    assert len(network[0]._forward_hooks) == len(network._forward_hooks) == 1
    remove_training_hooks_(network)
    assert not network._forward_hooks
    assert not network._forward_hooks_with_kwargs
    assert not network[0]._forward_hooks
    assert list(network[1]._forward_hooks) == [kept.id]
