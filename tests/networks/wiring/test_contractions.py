"""The rules of products of two activations: attention, fused and written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.wired import wired
from torch_growl.networks.wiring.needed import needed_channels


class Heads(nn.Module):
    """Attention with grouped queries: 4 heads of 3, two of them for each key and value."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(8, 12), nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(12, 5)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (-1, 3)).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.way == "fused":
            y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
            scores = (q @ k.transpose(-2, -1)).div(3**0.5).softmax(-1)
            y = scores @ v if self.way == "written out" else (v.mT @ scores.mT).mT
        return self.o(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("way", ["fused", "written out", "transposed"])
def test_heads_that_are_not_needed_are_removed_from_queries_keys_and_values(way: str) -> None:
    model = Heads(way)
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


class Product(nn.Module):
    """Three layers, the outputs of two (or three) of which a function multiplies, and a reader."""

    def __init__(self, product: Callable[..., Tensor], widths: tuple[int, ...], reader: nn.Module) -> None:
        super().__init__()
        self.product, self.layers, self.reader = product, nn.ModuleList(nn.Linear(3, n) for n in widths), reader

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.product(*(layer(x) for layer in self.layers)))


PINNED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "channels of both are left": lambda a, b: a.mT @ b,
    "channels of both are contracted, some of one are left": lambda a, b: a.unflatten(2, (3, 4)) @ b[..., :4, None],
}


@pytest.mark.parametrize("case", PINNED)
def test_a_product_that_mixes_channels_pins_both_operands(case: str) -> None:
    model = Product(PINNED[case], (12, 4), nn.Linear(4 if case.startswith("channels of both are left") else 1, 2))
    reason = "its output is multiplied with another activation in the network"
    found = wired(model, 2, 6, 3)
    assert found.reasons["layers.0"] == found.reasons["layers.1"] == reason


def test_an_addend_of_a_product_is_coupled_with_its_channels() -> None:
    weights = torch.rand(2, 5, 5)
    model = Product(lambda c, v: torch.baddbmm(c, weights, v), (4, 4), nn.Linear(4, 2))
    found = wired(model, 2, 5, 3)
    assert (found.outputs["layers.0"] == found.outputs["layers.1"]).all()
    assert len(set(found.outputs["layers.0"].tolist()) - {0}) == 4


def test_a_mask_with_a_channel_for_every_head_is_removed_with_the_heads() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (x.unflatten(2, (2, 3)).transpose(1, 2) for x in (q, k, v))
        mask = mask.permute(0, 2, 1)[:, :, None]  # (batch, heads, 1, keys)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)

    model = Product(attend, (6, 6, 6, 2), nn.Linear(6, 4))
    found = wired(model, 2, 5, 3)
    with torch.no_grad():
        model.reader.weight[:, :3] = 0
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    needed = needed_channels(layers, found)
    assert needed[found.outputs["layers.3"]].tolist() == [False, True]
    assert needed[found.outputs["layers.0"]].tolist() == [False] * 3 + [True] * 3
