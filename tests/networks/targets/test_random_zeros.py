"""Random zero rows and heads."""

from __future__ import annotations

import torch

from tests.support.attention_networks import HEADS, WIDTH, Separate
from torch_growl.networks.execution import split_examples
from torch_growl.networks.layers import registered_layers, rows_of
from torch_growl.networks.targets.random_zeros import zero_half_
from torch_growl.networks.wiring import wiring_of


def test_about_half_of_the_rows_and_of_the_heads_are_zero_and_the_first_of_each_layer_stays() -> None:
    wiring = wiring_of(Separate().eval(), split_examples(torch.randn(2, 3, WIDTH)))
    zero, heads = 0, 0
    for seed in range(20):
        model = Separate().eval()
        zero_half_(model, list(registered_layers(model)), wiring, seed)
        for layer in registered_layers(model).values():
            there = (rows_of(layer) != 0).any(dim=1)
            assert there[0]
            zero += int((~there).sum())
        last = (rows_of(model.last) != 0).any(dim=1).reshape(HEADS, -1)
        heads += int((~last.any(dim=1)).sum())
    assert 0.4 < zero / (20 * 5 * WIDTH) < 0.65
    assert 0.3 < heads / (20 * (HEADS - 1)) < 0.7
