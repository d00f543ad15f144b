"""The rules of operations: what keeps channels apart, what moves them, what stops them and with which reason."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.wired import Between, inputs_of_channels, wired

SAME = [
    lambda x: F.relu(x), lambda x: F.gelu(x), lambda x: torch.tanh(x), lambda x: x.sigmoid(),
    lambda x: F.dropout(x, 0.5, False), lambda x: F.dropout(x, 0.5, True),
    lambda x: F.max_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2), lambda x: F.adaptive_avg_pool2d(x, 2),
    lambda x: F.adaptive_max_pool2d(x, 2), lambda x: torch.max_pool2d(x, 2), lambda x: x * 2 + 1, lambda x: -x,
    lambda x: x.contiguous(), lambda x: torch.clamp(x, 0, 6), lambda x: F.leaky_relu(x, 0.1), lambda x: x.div_(2),
    lambda x: F.hardswish(x), lambda x: F.relu(x, inplace=True), lambda x: F.elu(x), lambda x: F.silu(x),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SAME)))
def test_operations_on_each_channel_by_itself_are_followed(number: int) -> None:
    found = wired(Between(SAME[number], nn.Conv2d(4, 3, 1)), 2, 2, 4, 4)
    assert inputs_of_channels(found) == [[0], [1], [2], [3]]
    assert found.reasons == {"reader": "its output is an output of the network"}
    assert [link.consumer for link in found.links["maker"]] == ["reader"]


# Channel c of four is pixel (c // 2, c % 2) of every 2 × 2 block of a 6 × 6 image.
SHUFFLED = [[6 * (2 * h + c // 2) + 2 * w + c % 2 for h in range(3) for w in range(3)] for c in range(4)]
MOVES = [
    (lambda x: x.flatten(1), 36, [[*range(9 * c, 9 * c + 9)] for c in range(4)]),
    (lambda x: x.view(x.size(0), -1), 36, [[*range(9 * c, 9 * c + 9)] for c in range(4)]),
    (lambda x: x.reshape(x.shape[0], -1), 36, [[*range(9 * c, 9 * c + 9)] for c in range(4)]),
    (lambda x: x.flatten(2).flatten(1), 36, [[*range(9 * c, 9 * c + 9)] for c in range(4)]),
    (lambda x: x.transpose(1, 2).flatten(2).mean(1), 12, [[3 * c, 3 * c + 1, 3 * c + 2] for c in range(4)]),
    (lambda x: x.permute(0, 2, 3, 1).flatten(1), 36, [[*range(c, 36, 4)] for c in range(4)]),
    (lambda x: x.mean((2, 3)), 4, [[0], [1], [2], [3]]),
    (lambda x: x.mean(3).amax(dim=2), 4, [[0], [1], [2], [3]]),
    (lambda x: x.flip(1).amax((2, 3)), 4, [[3], [2], [1], [0]]),
    (lambda x: torch.cat([x, x.flip(1)], 1).amax((2, 3)), 8, [[0, 7], [1, 6], [2, 5], [3, 4]]),
    (lambda x: (x[:, :2] + x[:, 2:]).amax((2, 3)), 2, [[0], [1], [0], [1]]),
    (lambda x: F.glu(x, 1).amax((2, 3)), 2, [[0], [1], [0], [1]]),
    (lambda x: F.pixel_shuffle(x, 2).flatten(1), 36, SHUFFLED),
    (lambda x: torch.stack([x, x], 4).sum(4).amax((2, 3)), 4, [[0], [1], [2], [3]]),
    (lambda x: F.pad(x, (1, 1, 1, 1)).mean((2, 3)), 4, [[0], [1], [2], [3]]),
    (lambda x: F.interpolate(x, scale_factor=2).mean((2, 3)), 4, [[0], [1], [2], [3]]),
    (lambda x: x.mean((2, 3))[:, :, None].expand(-1, -1, 2).flatten(1), 8, [[0, 1], [2, 3], [4, 5], [6, 7]]),
    (lambda x: (x + x.mean((2, 3), keepdim=True)).mean((2, 3)), 4, [[0], [1], [2], [3]]),
    (lambda x: F.group_norm(x, 2).mean((2, 3)), 4, [[0, 1], [0, 1], [2, 3], [2, 3]]),
    (lambda x: F.instance_norm(x).mean((2, 3)), 4, [[0], [1], [2], [3]]),
    (lambda x: x.flatten(2).softmax(-1).amax(2), 4, [[0], [1], [2], [3]]),
]


@pytest.mark.parametrize("number", range(len(MOVES)))
def test_moved_channels_are_found_at_the_inputs_that_read_them(number: int) -> None:
    between, inputs, expected = MOVES[number]
    found = wired(Between(between, nn.Linear(inputs, 3)), 2, 2, 3, 3)
    assert inputs_of_channels(found) == expected
    assert sorted({index for members in expected for index in members}) == list(range(inputs))


STOPS = [
    (lambda x: x.softmax(1), nn.Conv2d(4, 3, 1), "read by _softmax .* which mixes channels"),
    (lambda x: x.mean(1, keepdim=True), nn.Conv2d(1, 3, 1), "read by mean .* mixes"),
    (lambda x: x.mean().reshape(1, 1, 1, 1), nn.Conv2d(1, 3, 1), "read by mean .* mixes"),
    (lambda x: F.layer_norm(x.mean((2, 3)), (4,)), nn.Linear(4, 3), "normalised together with other channels"),
    (lambda x: F.group_norm(x, 1), nn.Conv2d(4, 3, 1), "read by group_norm, which is not known"),
    (lambda x: x.cumsum(1), nn.Conv2d(4, 3, 1), "read by cumsum .* mixes"),
    (lambda x: x[:, [0, 2]], nn.Conv2d(2, 3, 1), "chooses channels by number"),
    (lambda x: torch.linalg.inv(x + 9 * torch.eye(3)), nn.Conv2d(4, 3, 1), "read by .*inv.* not known to keep"),
    (lambda x: x + torch.arange(4.0).reshape(4, 1, 1), nn.Conv2d(4, 3, 1), "meets a tensor that must stay"),
    (lambda x: x.mean((2, 3)) @ torch.ones(4, 5), nn.Linear(5, 3), "meets a tensor that must stay"),
    (lambda x: x.mean((2, 3)).sort(1)[0], nn.Linear(4, 3), "read by sort .* mixes"),
]


@pytest.mark.parametrize("number", range(len(STOPS)))
def test_all_other_operations_pin_the_channels_and_are_named(number: int) -> None:
    between, reader, reason = STOPS[number]
    found = wired(Between(between, reader), 2, 2, 3, 3)
    assert "maker" not in found.links
    assert re.search(reason, found.reasons["maker"]), found.reasons["maker"]


def test_parameters_have_the_classes_of_their_channels() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.PReLU(4), nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 5)
    )
    found = wired(model, 2, 2, 3, 3)
    for name in ("1.weight", "1.bias", "1.running_mean", "1.running_var", "2.weight"):
        assert (found.parameters[name] == found.outputs["0"]).all()
    assert (found.parameters["4.weight"] == np.repeat(found.outputs["0"], 9)).all()


def test_a_normalisation_of_another_dimension_pins() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(5), nn.Linear(6, 2))
    assert "not known to keep channels apart" in wired(model, 2, 5, 3).reasons["0"]


def test_pooling_over_the_dimension_of_channels_pins() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.MaxPool1d(2), nn.Linear(3, 2))
    assert "read by max_pool" in wired(model, 2, 3).reasons["0"]


def test_a_chain_goes_through_linear_operations_and_notes_batch_normalisations() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    assert wired(model, 2, 2, 4, 4).chains == {"4": ("0", ("1",))}
    model[2] = nn.MaxPool2d(2)
    assert wired(model, 2, 2, 4, 4).chains == {}


def test_a_layer_that_is_called_twice_has_no_chain() -> None:
    twice = nn.Linear(4, 4)
    assert wired(nn.Sequential(nn.Linear(3, 4), twice, twice, nn.Linear(4, 2)), 2, 3).chains == {}
    assert wired(nn.Sequential(nn.Linear(3, 4), twice, nn.Linear(4, 2)), 2, 3).chains == {
        "1": ("0", ()),
        "2": ("1", ()),
    }


def test_channels_keep_their_number_beside_padding() -> None:
    found = wired(Between(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), nn.Conv2d(7, 3, 1)), 2, 2, 3, 3)
    assert inputs_of_channels(found) == [[1], [2], [3], [4]]
    assert found.pinned[found.inputs["reader"][[0, 5, 6]]].all()


class Rows(nn.Module):
    """Two layers whose outputs are joined along another dimension than that of channels, in a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.split, self.reader = nn.Linear(3, 4), nn.Linear(3, 4), Split(), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.split(torch.cat([self.a(x), self.b(x)], 1)).sum(-2))


class Split(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], 2, 2)


def test_tensors_joined_along_another_dimension_are_coupled_and_new_shapes_are_recorded() -> None:
    found = wired(Rows(), 2, 5, 3)
    assert (found.outputs["a"] == found.outputs["b"]).all()
    ((module, classes),) = found.resizes
    assert (module, classes.shape) == ("split", (2, 10, 2, 2))
    assert (classes[0, 0].reshape(-1) == found.outputs["a"]).all()
