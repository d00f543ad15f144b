"""Rows views: what a row is, on every registered layer type, in every layout and type."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.batteries import LAYERS, Case
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.layers.kinds import kind_of, register_layer, registered_kind, registered_layers
from torch_growl.networks.layers.rows import row_norms, rows_of, scale_rows_, write_rows_

SIDES = ("input", "output")


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_a_row_of_the_input_side_is_all_the_weights_of_one_input(case: Case) -> None:
    layer = case.make()
    assert rows_of(layer).shape[0] == case.inputs
    assert rows_of(layer).numel() == layer.weight.numel()
    x = case.input()
    channel_dim = x.ndim + kind_of(layer).channel_dim
    before = layer(x)
    for row in range(case.inputs):
        silenced = x.clone()
        silenced.select(channel_dim, row).zero_()
        kept = layer.weight.detach().clone()
        scale = torch.ones(case.inputs)
        scale[row] = 0
        scale_rows_(layer, scale)
        assert bool((rows_of(layer)[row] == 0).all())
        torch.testing.assert_close(layer(x), layer(silenced))
        assert not torch.equal(layer(x), before)
        layer.weight.data.copy_(kept)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_a_row_of_the_output_side_is_all_the_weights_of_one_neuron(case: Case) -> None:
    layer = case.make()
    assert rows_of(layer, "output").shape[0] == case.outputs
    x = case.input()
    channel_dim = x.ndim + kind_of(layer).channel_dim
    before = layer(x).detach()
    scale = torch.ones(case.outputs)
    scale[-1] = 0
    scale_rows_(layer, scale, "output")
    after = layer(x).detach()
    last = after.select(channel_dim, case.outputs - 1)
    bias = layer.bias[-1] if layer.bias is not None else torch.zeros(())
    torch.testing.assert_close(last, bias.detach().expand_as(last))
    rest = range(case.outputs - 1)
    for row in rest:
        torch.testing.assert_close(after.select(channel_dim, row), before.select(channel_dim, row))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_norms_scaling_and_writing_agree_with_the_matrix(case: Case, dtype: torch.dtype, side: str) -> None:
    layer = case.make().to(dtype)
    stride = layer.weight.stride()
    rows = rows_of(layer, side).detach().clone()
    norms = row_norms(layer, side)
    torch.testing.assert_close(norms.double(), rows.double().norm(dim=1), rtol=1e-6, atol=1e-6)
    scale = torch.linspace(0, 2, len(rows))
    scale_rows_(layer, scale, side)
    assert torch.equal(rows_of(layer, side), rows * scale.to(dtype).unsqueeze(1))
    fresh = torch.randn_like(rows)
    write_rows_(layer, fresh, side)
    assert torch.equal(rows_of(layer, side), fresh)
    assert layer.weight.stride() == stride
    assert layer.weight.requires_grad


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_sizes_are_input_channels_output_channels_and_groups(case: Case) -> None:
    layer = case.make()
    assert registered_kind(layer).sizes(layer) == (case.inputs, case.outputs, getattr(layer, "groups", 1))


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_a_resized_layer_has_the_settings_of_the_old_one(case: Case) -> None:
    layer = case.make()
    kind = kind_of(layer)
    groups = kind.groups(layer)
    small = kind.resized(layer, groups, 2 * groups)
    assert type(small) is type(layer)
    assert (rows_of(small).shape[0], rows_of(small, "output").shape[0]) == (groups, 2 * groups)
    x = case.input().narrow(kind.channel_dim, 0, groups)
    expected = list(layer(case.input()).shape)
    expected[kind.channel_dim] = 2 * groups
    assert list(small(x).shape) == expected
    assert (small.bias is None) == (layer.bias is None)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_macs_are_what_torch_counts(case: Case) -> None:
    from torch.utils.flop_counter import FlopCounterMode

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
        rows_of(_Subclass(2, 3))

    class Mine(nn.Linear):
        pass

    register_layer(Mine, nn.Linear)
    assert rows_of(Mine(2, 3)).shape == (2, 3)


def test_registering_like_an_unknown_type_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="Embedding is not registered, so _Subclass cannot be made like it"):
        register_layer(_Subclass, nn.Embedding)
