"""Channels as rows: norms of what reads them; everything is scaled and set to zero together."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from tests.support.channel_networks import NETWORKS, network
from tests.support.compaction_checks import by_name
from torch_growl import compact
from torch_growl.errors import LayerError
from torch_growl.mathematics.owl import lasso
from torch_growl.networks.channels.channel_rows import ChannelRows
from torch_growl.networks.channels.penalised_channels import choose_channels


def rows(name: str) -> tuple[torch.nn.Module, torch.Tensor, dict[str, ChannelRows]]:
    model, x, _ = network(name)
    chosen, _ = choose_channels(model, x[:2], None, lasso(), 0.5)
    return model, x, {own.name: own.rows for own in chosen}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_compaction_removes_channels_that_are_zero_and_what_makes_them(name: str) -> None:
    model, x, found = rows(name)
    model.eval()
    makers: dict[str, int] = {}
    for own in found.values():
        gone = np.arange(len(own)) % 3 == 1
        own.zero_(gone)
        assert (own.values() == 0).tolist() == gone.tolist()
        for maker, numbers in own.channels.makers.items():
            makers[maker] = makers.get(maker, 0) + numbers[gone].size
            weight = model.get_submodule(maker).weight.detach()
            assert not weight[torch.from_numpy(numbers[gone])].any()
        for parameter, numbers in own.channels.parameters.items():
            assert not model.get_parameter(parameter).view(-1)[torch.from_numpy(numbers[gone])].any()
    small = compact(model, x)
    for maker, count in makers.items():
        assert by_name(small)[maker].outputs - by_name(small)[maker].outputs_left == count, maker


def test_norms_are_those_of_all_rows_that_read_a_channel() -> None:
    model, _, found = rows("plain CNN")
    own = found["3"]
    weight = model[7].weight.detach()  # channel c is read by inputs 4 c … 4 c + 3
    wanted = weight.unflatten(1, (16, 4)).square().sum((0, 2)).sqrt()
    torch.testing.assert_close(own.norms().detach(), wanted)
    np.testing.assert_allclose(own.values(), wanted.numpy(), rtol=1e-6)
    own.norms().sum().backward()
    torch.testing.assert_close(model[7].weight.grad, weight / wanted.repeat_interleave(4))
    assert own.row_length == 40


def test_units_are_each_readers_mean() -> None:
    model, _, found = rows("1×1 shortcut and gate")
    own = found["stem"]
    before = own.in_units()
    assert np.square(before).mean() == pytest.approx(1)
    with torch.no_grad():
        model.shortcut.weight.mul_(100)
    np.testing.assert_allclose(own.in_units(), before, rtol=1e-6)


def test_only_what_reads_is_scaled_unless_the_whole_is() -> None:
    model, _, found = rows("plain CNN")
    before, own = copy.deepcopy(model.state_dict()), found["0"]
    scale = np.linspace(0.5, 1, 12)
    own.scale_(scale, whole=False)
    torch.testing.assert_close(model[3].weight, before["3.weight"] * torch.tensor(scale).float()[None, :, None, None])
    assert torch.equal(model[0].weight, before["0.weight"])
    own.scale_(scale, whole=True)
    torch.testing.assert_close(model[0].weight, before["0.weight"] * torch.tensor(scale).float()[:, None, None, None])
    torch.testing.assert_close(model[1].weight, before["1.weight"] * torch.tensor(scale).float())


def test_frozen_parameters_are_left_as_they_are() -> None:
    model, _, found = rows("plain CNN")
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    found["0"].zero_(np.ones(12, dtype=np.bool_))
    assert torch.equal(model[0].weight, before)
    assert not model[1].weight.any()
    assert "0" not in found["0"].weights()


def test_another_network_is_refused_by_layer_name() -> None:
    _, _, found = rows("plain CNN")
    with pytest.raises(LayerError, match="the network has no layer '3' with the rows"):
        ChannelRows(torch.nn.Sequential(torch.nn.Linear(3, 2)), found["0"].channels)
