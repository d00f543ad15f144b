"""The rules of products of two activations: attention, fused and written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.wired import wired
from torch_growl.networks.wiring.needed import needed_channels


class Heads(nn.Module):
    """Attention with grouped queries: 4 heads of 3, two of them for each key and value."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(8, 12), nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(12, 5)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (-1, 3)).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
            y = (q @ k.transpose(-2, -1)).div(3**0.5).softmax(-1) @ v
        return self.o(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("fused", [True, False])
def test_heads_that_are_not_needed_are_removed_from_queries_keys_and_values(fused: bool) -> None:
    model = Heads(fused)
    found = wired(model, 2, 4, 8)
    values = found.outputs["v"].reshape(2, 3)
    assert (found.inputs["o"].reshape(2, 2, 3) == values[:, None]).all()
    assert not found.pinned[found.outputs["v"]].any()
    assert not found.pinned[found.outputs["q"]].any()
    queries, keys = found.outputs["q"].reshape(2, 2, 3), found.outputs["k"].reshape(2, 3)
    assert (queries == keys[:, None]).all()
    with torch.no_grad():
        model.o.weight[:, :6] = 0  # both heads of the first group
    needed = needed_channels(dict(model.named_children()), found)
    assert needed[values].tolist() == [[False] * 3, [True] * 3]
    assert needed[keys].tolist() == [[False] * 3, [True] * 3]
    nn.init.normal_(model.o.weight)
    with torch.no_grad():
        model.o.weight[:, [0, 3]] = 0  # a channel of the first group is not read, but heads keep one size
    assert needed_channels(dict(model.named_children()), found).all()


def test_a_product_that_contracts_and_keeps_channels_pins_both_operands() -> None:
    class Gram(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.reader = nn.Linear(3, 4), nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.reader(self.a(x).transpose(1, 2) @ self.b(x))  # contracts the places, keeps both channels

    reason = "its output is multiplied with another activation in the network"
    found = wired(Gram(), 2, 6, 3)
    assert (found.reasons["a"], found.reasons["b"]) == (reason, reason)
