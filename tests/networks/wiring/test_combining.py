"""Operations that combine activations: pointwise ones couple and read; attention, fused or not, removes heads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.wired import Between, wired
from torch_growl.networks.wiring.needed import bundles, needed_channels


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


class Sum(nn.Module):
    """Two layers whose outputs are added, and a reader."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.reader = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.a(x) + self.b(x).flip(1))


def test_channels_that_are_added_are_coupled() -> None:
    found = wired(Sum(), 2, 3)
    assert (found.outputs["a"] == found.outputs["b"][::-1]).all()
    assert len(set(found.outputs["a"].tolist())) == 4
    assert not found.pinned[found.outputs["a"]].any()


def test_channels_written_into_another_tensor_are_pinned() -> None:
    found = wired(Between(lambda x: torch.zeros(2, 4, 3, 3).add_(x), nn.Conv2d(4, 3, 1)), 2, 2, 3, 3)
    assert found.reasons["maker"] == "its output is written into another tensor in the network"


def test_channels_that_meet_along_two_dimensions_are_pinned() -> None:
    def outer(x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        return (x[:, :, None] * x[:, None, :]).flatten(1)

    found = wired(Between(outer, nn.Linear(16, 3)), 2, 2, 3, 3)
    assert found.reasons["maker"] == "its output meets channels along another dimension in the network"


class Gate(nn.Module):
    """Six channels seen as two groups of three, each multiplied with one channel of a gate."""

    def __init__(self, gate_is_output: bool = False, padding: int = 0) -> None:
        super().__init__()
        self.values, self.gate, self.reader = nn.Linear(3, 6), nn.Linear(3, 2), nn.Linear(6 + 2 * padding, 2)
        self.gate_is_output, self.padding = gate_is_output, padding

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values, gate = F.pad(self.values(x).unflatten(1, (2, 3)), (0, self.padding)), self.gate(x)
        y = self.reader((values * gate[:, :, None]).flatten(1))
        return (y, gate) if self.gate_is_output else (y,)


def test_a_channel_that_meets_several_is_needed_while_any_of_them_is() -> None:
    model = Gate()
    found = wired(model, 2, 3)
    assert not found.pinned[found.outputs["gate"]].any()
    with torch.no_grad():
        model.reader.weight[:, :3] = 0
    needed = needed_channels(dict(model.named_children()), found)
    assert needed[found.outputs["gate"]].tolist() == [False, True]
    assert needed[found.outputs["values"]].tolist() == [False] * 3 + [True] * 3
    removed = sorted([found.outputs["gate"][0], *found.outputs["values"][:3]])
    assert [sorted(members) for members in bundles(found, needed)] == [removed]


def test_channels_that_meet_one_that_must_stay_are_kept_to_meet_it() -> None:
    model = Gate(gate_is_output=True)
    found = wired(model, 2, 3)
    assert found.pinned[found.outputs["gate"]].all()
    assert not found.pinned[found.outputs["values"]].any()
    with torch.no_grad():
        model.reader.weight[:, :3] = 0
        model.reader.weight[:, 5] = 0
    needed = needed_channels(dict(model.named_children()), found)
    assert needed[found.outputs["values"]].tolist() == [True, True, False] * 2


def test_where_one_operand_is_padded_the_result_has_the_channels_of_the_other() -> None:
    found = wired(Gate(padding=1), 2, 3)
    inputs = found.inputs["reader"].reshape(2, 4)
    assert (inputs[:, :3].reshape(-1) == found.outputs["values"]).all()
    assert (inputs[:, 3] == found.outputs["gate"]).all()
