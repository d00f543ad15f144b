"""Layer types: sizes, resizing and MACs of every registered type, and the registry."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.support.batteries import LAYERS, Case
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.layers.kinds import kind_of, register_layer, registered_kind, registered_layers


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_sizes_are_input_channels_output_channels_and_groups(case: Case) -> None:
    layer = case.make()
    assert registered_kind(layer).sizes(layer) == (case.inputs, case.outputs, getattr(layer, "groups", 1))


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_a_resized_layer_has_the_settings_of_the_old_one(case: Case) -> None:
    layer = case.make().double()
    kind = registered_kind(layer)
    state = torch.get_rng_state()
    twin = kind.resized(layer, case.inputs, case.outputs)
    assert torch.equal(torch.get_rng_state(), state)
    twin.load_state_dict(layer.state_dict())
    x = case.input().double()
    torch.testing.assert_close(twin(x), layer(x))
    assert (repr(twin), twin.weight.dtype) == (repr(layer), torch.float64)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_a_resized_layer_has_the_channels_asked_for(case: Case) -> None:
    layer = case.make()
    kind = registered_kind(layer)
    groups = kind.groups(layer)
    small = kind.resized(layer, groups, 2 * groups)
    assert type(small) is type(layer)
    assert kind.sizes(small) == (groups, 2 * groups, groups)
    x = case.input().narrow(kind.channel_dim, 0, groups)
    expected = list(layer(case.input()).shape)
    expected[kind.channel_dim] = 2 * groups
    assert list(small(x).shape) == expected


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_macs_are_what_torch_counts(case: Case) -> None:
    layer, x = case.make(), case.input()
    with FlopCounterMode(display=False) as counter:
        y = layer(x)
    assert kind_of(layer).macs(layer, x, y) * 2 == counter.get_total_flops()


class _Subclass(nn.Linear):
    pass


def test_registered_layers_are_listed_by_name_without_other_modules() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Sequential(_Subclass(3, 3), nn.Conv2d(1, 1, 1)))
    assert registered_layers(model) == {"0": model[0], "2.1": model[2][1]}


def test_types_are_looked_up_exactly_and_can_be_registered() -> None:
    assert kind_of(_Subclass(2, 3)) is None
    with pytest.raises(LayerError, match="_Subclass has no rows view; register_layer"):
        registered_kind(_Subclass(2, 3))

    class Mine(nn.Linear):
        pass

    register_layer(Mine, nn.Linear)
    assert registered_kind(Mine(2, 3)) is kind_of(nn.Linear(2, 3))


def test_registering_like_an_unknown_type_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="Embedding is not registered, so _Subclass cannot be made like it"):
        register_layer(_Subclass, nn.Embedding)
