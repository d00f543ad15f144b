"""Channels of a network, sorted by who reads and makes them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.networks.layers import zero_rows_
from torch_growl.networks.shrinking.channels import alike_channels, flagged_rows
from torch_growl.networks.targets import Counter, without_rows


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(3, 4), nn.Linear(4, 6)
        self.back, self.last = nn.Linear(6, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.back(torch.relu(self.inner(x)))
        return self.last(torch.cat([x, x], 1))


def test_a_channel_has_the_rows_of_all_its_readers() -> None:
    counter = Counter(Residual(), torch.randn(2, 3))
    kinds = {kind.readers: kind for kind in alike_channels(counter.wiring, counter.cuttable)}
    assert set(kinds) == {("inner", "last"), ("back",), ("first",)}
    stream = kinds["inner", "last"]
    assert len(stream) == 4
    assert sorted((rows["inner"].tolist(), rows["last"].tolist()) for rows in stream.rows) == [
        ([i], [i, i + 4]) for i in range(4)
    ]
    assert [rows["first"].tolist() for rows in kinds["first",].rows] == [[0], [1], [2]], "the inputs must stay"
    assert [readers for readers, kind in kinds.items() if kind.stay] == [("first",)]


def test_a_channel_goes_with_those_that_padded_shortcuts_make_of_it() -> None:
    counter = Counter(resnet_cifar(depth=8, width=0.25), torch.randn(2, 3, 8, 8))
    kinds = alike_channels(counter.wiring, counter.cuttable)
    streams = {kind.readers: kind for kind in kinds if "linear" in kind.readers}
    first = ("layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1", "linear")
    assert {readers: len(kind) for readers, kind in streams.items()} == {first: 4, first[2:]: 8, first[3:]: 16}
    assert [rows["linear"].tolist() for rows in streams[first].rows] == [[6], [7], [8], [9]]


class Attention(nn.Module):
    """Four heads of three, queries, keys and values of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim = 4, 3
        self.first, self.qkv, self.proj = nn.Linear(5, 12), nn.Linear(12, 36), nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], 3, self.num_heads, self.head_dim)
        q, k, v = self.qkv(self.first(x)).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.proj(y.reshape(*x.shape[:2], self.num_heads * self.head_dim))


def test_a_head_is_one_channel_and_goes_with_its_queries_keys_and_values() -> None:
    torch.manual_seed(0)
    model, x = Attention().eval(), torch.randn(4, 7, 5)
    counter = Counter(model, x)
    kinds = {kind.readers: kind for kind in alike_channels(counter.wiring, counter.cuttable)}
    heads = kinds["proj",]
    assert [rows["proj"].tolist() for rows in heads.rows] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    gone = flagged_rows({"proj": 12}, heads.rows[1:3])
    small = tg.compact(without_rows(model, gone), x)
    assert (small.qkv.out_features, small.proj.in_features) == (18, 6)
    assert sum(p.numel() for p in small.parameters()) == counter.left(gone).weights


def test_flagged_rows_are_set_to_zero() -> None:
    model = Residual()
    flags = flagged_rows(
        {"back": 6, "last": 8}, [{"back": np.array([1])}, {"back": np.array([4]), "last": np.array([0, 4])}]
    )
    assert {name: np.flatnonzero(rows).tolist() for name, rows in flags.items()} == {"back": [1, 4], "last": [0, 4]}
    for name, rows in flags.items():
        zero_rows_(model.get_submodule(name), torch.from_numpy(rows))
    assert (model.back.weight != 0).all(0).tolist() == [True, False, True, True, False, True]
    assert not model.last.weight[:, [0, 4]].any()
