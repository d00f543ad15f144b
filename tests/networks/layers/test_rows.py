"""Rows: one input's or one output's weights, on every registered layer type, in every layout and type."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.batteries import LAYERS, Case
from torch_growl.errors import LayerError
from torch_growl.networks.layers.kinds import Side, kind_of
from torch_growl.networks.layers.rows import row_norms, rows_of, scale_rows_, write_rows_, zero_rows_

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


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_another_tensor_is_scaled_and_written_in_place_of_the_weight(case: Case, side: str) -> None:
    layer = case.make()
    before = layer.weight.detach().clone()
    other = torch.randn_like(layer.weight)
    rows = rows_of(layer, side, other).clone()
    scale_rows_(layer, torch.full((len(rows),), 2.0), side, other)
    assert torch.equal(rows_of(layer, side, other), 2 * rows)
    write_rows_(layer, rows, side, other)
    assert torch.equal(rows_of(layer, side, other), rows)
    assert torch.equal(layer.weight, before)


def test_a_type_that_is_not_registered_has_no_rows() -> None:
    with pytest.raises(LayerError, match=r"Embedding has no rows view; register_layer\(\) can give it one"):
        rows_of(nn.Embedding(2, 3))


@pytest.mark.parametrize("side", SIDES)
def test_rows_that_are_flagged_become_zero_and_no_others(side: Side) -> None:
    layer = nn.Conv2d(6, 4, 3, groups=2).to(torch.bfloat16)
    before = rows_of(layer, side).clone()
    gone = torch.arange(len(before)) % 3 == 1
    zero_rows_(layer, gone, side)
    assert not rows_of(layer, side)[gone].any()
    assert torch.equal(rows_of(layer, side)[~gone], before[~gone])
