"""What the counter says is left equals what compaction leaves, on every kind of network of the battery."""

from __future__ import annotations

import copy
import math
import warnings

import numpy as np
import pytest
import torch

import torch_growl as tg
from tests.support.compact_battery import NETS, Net
from tests.support.pruned_networks import set_rows_, settle_
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.networks.layers import registered_layers, rows_of
from torch_growl.networks.shrinking import alike_channels
from torch_growl.networks.targets.counting import Counter, Left, Summed


def counted(model: torch.nn.Module, example: torch.Tensor) -> Left:
    found = tg.measure(model, example, latency=False)
    return Left(found.weights, found.macs, found.bytes)


def zero_half_(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    random = np.random.default_rng(seed)
    for module in registered_layers(model).values():
        set_rows_(module, zero=np.flatnonzero(random.random(len(rows_of(module))) < 0.5).tolist())
    return model


FAST = ("mlp",)
on_every_network = pytest.mark.parametrize(
    "net", [pytest.param(net, marks=() if net.name in FAST else pytest.mark.slow) for net in NETS], ids=str
)
# only pooling or copies lie between two layers: compaction folds sums of inputs into the layer before
FOLDED = ("pooled", "pooled-channels-last", "as-strided-copy", "as-strided-scatter")


@on_every_network
def test_the_count_is_that_of_the_compact_network(net: Net) -> None:
    torch.manual_seed(0)
    model, x = settle_(net.build()), net.input()
    counter = Counter(model, x)
    assert counter.dense == counted(model, x)
    exact = 0
    for seed in range(1, 6):
        pruned = zero_half_(copy.deepcopy(model), seed)
        counter.look(pruned)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tg.GrowlWarning)
            small = tg.compact(pruned, x)
        left, found = counter.left(), counted(small, x)
        if any(not (rows_of(layer, "output") != 0).any(dim=1).all() for layer in registered_layers(pruned).values()):
            # a filter of zeros makes a constant channel: compaction folds it, which is not counted
            assert (left.weights, left.macs) >= (found.weights, found.macs)
        else:
            assert left == found
            exact += 1
    assert exact or net.name in ("grouped", "separable", "decoder")  # there a zero row makes a constant channel


def test_rows_that_count_as_zero_are_counted_as_if_they_were() -> None:
    torch.manual_seed(0)
    model, x = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 4)), torch.randn(3, 20)
    counter = Counter(model, x)
    gone = np.arange(30) % 3 == 0
    asked = counter.left({"2": gone})
    set_rows_(model[2], zero=np.flatnonzero(gone).tolist())
    assert asked == counted(tg.compact(model, x), x) == Left(20 * 20 + 20 + 20 * 4 + 4, 20 * 20 + 20 * 4, 4 * 504)
    assert counter.left() == counter.dense


@pytest.mark.parametrize("outputs", [30, 1], ids=["pays", "does not pay"])
@pytest.mark.parametrize("shape", [(), (7,)], ids=["one place", "seven places"])
def test_sums_are_counted_with_additions_and_indices(shape: tuple[int, ...], outputs: int) -> None:
    torch.manual_seed(0)
    model, x = torch.nn.Sequential(torch.nn.Linear(20, outputs)), torch.randn(3, *shape, 20)
    counter = Counter(model, x)
    places = math.prod(shape)
    gone, summed = (np.isin(np.arange(20), rows) for rows in ([11], [3, 5, 6]))
    asked = counter.left({"0": gone}, {"0": Summed(summed, places)})
    set_rows_(model[0], zero=[11], tied=[[0, 3, 5], [1, 6]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)
        assert asked == counted(tg.compact(model, x), x)
    assert (asked.weights < counter.dense.weights) == (outputs > 1)


def test_channels_whose_rows_are_summed_are_still_made() -> None:
    torch.manual_seed(0)
    model, x = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 30)), torch.randn(3, 5)
    asked = Counter(model, x).left({}, {"2": Summed(np.isin(np.arange(8), [3, 5]), 1)})
    set_rows_(model[2], tied=[[0, 3, 5]])
    assert asked == counted(tg.compact(model, x), x)
    assert asked.layers["0"].outputs == 8


def test_counting_leaves_the_network_and_the_generator_as_they_are() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Dropout(), torch.nn.Linear(6, 2)).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    Counter(model, torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class TiedEmbedding(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 16)
        self.up, self.down = torch.nn.Linear(16, 24), torch.nn.Linear(24, 16)
        self.head = torch.nn.Linear(16, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.down(torch.relu(self.up(self.embedding(tokens)))))
        return out


def test_a_weight_of_an_embedding_and_a_layer_is_counted_once() -> None:
    torch.manual_seed(0)
    model, x = TiedEmbedding(), torch.arange(12).reshape(3, 4)
    counter = Counter(model, x)
    assert counter.dense == counted(model, x)
    set_rows_(model.down, zero=list(range(10)))
    counter.look(model)
    assert counter.left() == counted(tg.compact(model, x), x)


def test_a_layer_of_zeros_counts_as_an_initialisation_at_the_start() -> None:
    torch.manual_seed(0)
    model, x = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 4)), torch.randn(3, 20)
    before = Counter(model, x)
    torch.nn.init.zeros_(model[2].weight)
    after = Counter(model, x)
    assert after.left() == after.dense == before.dense
    gone = {"0": np.arange(20) % 2 == 0}
    assert after.left(gone) == before.left(gone)


@on_every_network
def test_tied_rows_are_counted_as_one(net: Net) -> None:
    torch.manual_seed(0)
    model, x = settle_(net.build()), net.input()
    counter = Counter(model, x)
    random = np.random.default_rng(0)
    labels = {}
    for name in counter.cuttable:
        module = registered_layers(model)[name]
        numbers = np.arange(len(rows_of(module)))
        labels[name] = np.where(random.random(len(numbers)) < 0.7, numbers % max(1, len(numbers) // 4), numbers)
        groups = [np.flatnonzero(labels[name] == label).tolist() for label in np.unique(labels[name])]
        labels[name] = np.array([min(next(own for own in groups if row in own)) for row in numbers])
        set_rows_(module, tied=[own for own in groups if len(own) > 1])
    counter.tie(labels)
    for zero in (None, 3, 0):  # rows that go from the middle of a group, and the first ones of groups
        if zero is not None:
            for name in counter.cuttable:
                set_rows_(registered_layers(model)[name], zero=[zero] if len(labels[name]) > 4 else [])
        counter.look(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tg.GrowlWarning)
            found = counted(tg.compact(model, x), x)
        left = counter.left()
        assert left.weights < counter.dense.weights
        if net.name in FOLDED:
            assert (left.weights, left.macs) >= (found.weights, found.macs)
        else:
            assert (left.weights, left.macs) == (found.weights, found.macs)
        assert left.bytes >= found.bytes  # layers that sum the same inputs share the sums, which is not counted
    counter.tie({})
    assert counter.left().weights > left.weights


def test_the_indices_of_padded_shortcuts_are_counted() -> None:
    torch.manual_seed(0)
    model, x = settle_(resnet_cifar(depth=8)), torch.randn(2, 3, 32, 32)
    counter = Counter(model, x)
    assert len(counter.wiring.numbered) == 2
    modules, random = registered_layers(model), np.random.default_rng(0)
    for kind in alike_channels(counter.wiring, counter.cuttable):
        for channel in random.permutation(len(kind))[: len(kind) // 3]:
            for name, rows in kind.rows[channel].items():
                set_rows_(modules[name], zero=rows.tolist())
    counter.look(model)
    small = tg.compact(model, x)
    assert len(tg.structure_of(small).modules) == 2
    assert counter.left() == counted(small, x)
    buffers = [b for b in small.buffers() if b.dtype == torch.int32]
    assert tg.measure(small, x, latency=False).index_bytes == 4 * sum(len(b) for b in buffers) > 0
