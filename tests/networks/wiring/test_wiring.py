"""Who makes and who reads each channel: what is followed, what stops, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_growl.networks.wiring.needed import needed_channels
from torch_growl.networks.wiring.wiring import Wiring, wiring_of


class Between(nn.Module):
    """A convolution, something between, and a reader."""

    def __init__(self, between: Callable[[Tensor], Tensor], reader: nn.Module, *parts: nn.Module) -> None:
        super().__init__()
        self.maker, self.reader, self.between = nn.Conv2d(2, 4, 1), reader, between
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Any:
        return self.reader(self.between(self.maker(x)))


def wired(model: nn.Module, *shape: int, **fixed: str) -> Wiring:
    return wiring_of(model.eval(), (torch.randn(shape),), {}, fixed)


SAME = [
    lambda x: F.relu(x), lambda x: F.gelu(x), lambda x: torch.tanh(x), lambda x: x.sigmoid(),
    lambda x: F.dropout(x, 0.5, False),
    lambda x: F.max_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2), lambda x: F.adaptive_avg_pool2d(x, 2),
    lambda x: F.adaptive_max_pool2d(x, 2), lambda x: torch.max_pool2d(x, 2), lambda x: x * 2 + 1, lambda x: -x,
    lambda x: x.contiguous(), lambda x: torch.clamp(x, 0, 6), lambda x: F.leaky_relu(x, 0.1), lambda x: x.div_(2),
    lambda x: F.hardswish(x), lambda x: F.relu(x, inplace=True), lambda x: F.elu(x), lambda x: F.silu(x),
]  # fmt: skip


def left(found: Wiring, layer: str = "reader", source: str = "maker") -> list[list[int]]:
    """For every channel of the source that may go, the inputs of the layer that go with it."""
    inputs, outputs = found.inputs[layer], found.outputs[source]
    return [np.flatnonzero(inputs == c).tolist() for c in outputs if not found.pinned[c]]


@pytest.mark.parametrize("number", range(len(SAME)))
def test_operations_on_each_channel_by_itself_are_followed(number: int) -> None:
    found = wired(Between(SAME[number], nn.Conv2d(4, 3, 1)), 2, 2, 4, 4)
    assert left(found) == [[0], [1], [2], [3]]
    assert found.reasons == {"reader": "its output is an output of the network"}
    assert [link.consumer for link in found.links["maker"]] == ["reader"]


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
    (lambda x: F.pixel_shuffle(x, 2).flatten(1), 36, None),
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
def test_channels_are_found_where_they_have_gone(number: int) -> None:
    between, inputs, expected = MOVES[number]
    found = wired(Between(between, nn.Linear(inputs, 3)), 2, 2, 3, 3)
    got = left(found)
    assert len(got) == 4
    assert expected is None or got == expected
    flat = {index for members in got for index in members}
    assert flat == set(range(inputs))


STOPS = [
    (lambda x: x.softmax(1), nn.Conv2d(4, 3, 1), "read by _softmax .* which mixes channels"),
    (lambda x: x.mean(1, keepdim=True), nn.Conv2d(1, 3, 1), "read by mean"),
    (lambda x: x.mean().reshape(1, 1, 1, 1), nn.Conv2d(1, 3, 1), "read by mean"),
    (lambda x: F.layer_norm(x.mean((2, 3)), (4,)), nn.Linear(4, 3), "normalised together with other channels"),
    (lambda x: F.group_norm(x, 1), nn.Conv2d(4, 3, 1), "read by group_norm"),
    (lambda x: x.cumsum(1), nn.Conv2d(4, 3, 1), "read by cumsum"),
    (lambda x: x[:, [0, 2]], nn.Conv2d(2, 3, 1), "chooses channels by number"),
    (lambda x: torch.linalg.inv(x + 9 * torch.eye(3)), nn.Conv2d(4, 3, 1), "read by .*inv.* not known to keep"),
    (lambda x: x + torch.arange(4.0).reshape(4, 1, 1), nn.Conv2d(4, 3, 1), "meets a tensor that must stay"),
    (lambda x: x.mean((2, 3)) @ torch.ones(4, 5), nn.Linear(5, 3), "multiplied with another|meets a tensor that must"),
    (lambda x: x.mean((2, 3)).sort(1)[0], nn.Linear(4, 3), "read by sort"),
]


@pytest.mark.parametrize("number", range(len(STOPS)))
def test_everything_else_stops_with_its_name(number: int) -> None:
    between, reader, reason = STOPS[number]
    found = wired(Between(between, reader), 2, 2, 3, 3)
    assert "maker" not in found.links
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reasons["maker"])


def test_parameters_go_with_their_channels() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.PReLU(4), nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 5)
    )
    found = wired(model, 2, 2, 3, 3)
    for name in ("1.weight", "1.bias", "1.running_mean", "1.running_var", "2.weight"):
        assert (found.parameters[name] == found.outputs["0"]).all()
    assert (found.parameters["4.weight"] == np.repeat(found.outputs["0"], 9)).all()


def test_a_normalisation_of_another_dimension_stops() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(5), nn.Linear(6, 2))
    assert "not known to keep channels apart" in wired(model, 2, 5, 3).reasons["0"]


def test_what_must_stay_stops_those_before_it() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    assert wired(model, 2, 3, **{"2": "of hooks"}).reasons["0"] == "its reader 2 must stay: of hooks"
    assert wired(model, 2, 3, **{"1": "of sharing"}).reasons["0"] == "of sharing"


def test_a_layer_called_twice_has_the_same_channels_both_times() -> None:
    shared = nn.Linear(4, 4)
    found = wired(nn.Sequential(nn.Linear(3, 4), shared, nn.ReLU(), shared, nn.Linear(4, 2)), 2, 3)
    assert (found.inputs["1"] == found.outputs["0"]).all()
    assert (found.inputs["1"] == found.outputs["1"]).all()
    assert not found.pinned[found.outputs["1"]].any()


def test_pooling_over_the_dimension_of_channels_stops() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.MaxPool1d(2), nn.Linear(3, 2))
    assert "read by max_pool" in wired(model, 2, 3).reasons["0"]


def test_groups_of_a_convolution_go_whole_and_depthwise_ones_one_by_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1, groups=2), nn.Conv2d(4, 4, 1, groups=4))
    found = wired(nn.Sequential(*model, nn.Conv2d(4, 2, 1)), 2, 3, 4, 4)
    halves = found.outputs["0"].reshape(2, 4)
    assert (halves == halves[:, :1]).all()
    assert halves[0, 0] != halves[1, 0]
    assert (found.outputs["1"] == halves[[0, 0, 1, 1], 0]).all()
    assert (found.outputs["2"] == found.outputs["1"]).all()


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
def test_what_reads_a_head(fused: bool) -> None:
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
        model.o.weight[:, [0, 3]] = 0  # nobody reads this channel of the first group, but heads must stay of one size
    assert needed_channels(dict(model.named_children()), found).all()


def test_a_single_weight_is_enough_to_need_a_channel() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))
    found = wired(model, 2, 3)
    with torch.no_grad():
        model[2].weight[:, 1:] = 0
        model[2].weight[3, 2] = 1e-30
    needed = needed_channels(dict(model.named_children()), found)
    assert needed[found.outputs["0"]].tolist() == [True, False, True, False]


def test_a_network_that_is_one_layer_or_fails_has_no_cuts() -> None:
    assert wired(nn.Linear(3, 2), 2, 3).reasons == {"": "its output is an output of the network"}

    class Fails(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("of weather\nand wind")

    found = wired(Fails(nn.Linear(3, 4), nn.Linear(4, 2)), 2, 3)
    assert found.links == {}
    assert found.reasons["0"] == "the network cannot be followed: RuntimeError: of weather"


def test_branches_on_values_are_followed_as_they_went() -> None:
    class Branch(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    assert left(wired(Branch(nn.Linear(3, 4), nn.Linear(4, 2)), 2, 3), "1", "0") == [[0], [1], [2], [3]]


def test_nothing_reads_it() -> None:
    class Forgets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor, scale: float = 1.0, *more: Tensor, skip: bool = False) -> Tensor:
            self.a(x)
            return x if skip else self.b(x) * scale

    assert wired(Forgets(), 2, 3).links["a"] == ()
    found = wiring_of(Forgets(), (torch.randn(2, 3),), {"skip": True})
    assert found.reasons["b"].startswith("it is not called")


def test_nothing_is_left_on_the_network() -> None:
    model = Between(F.relu, nn.Conv2d(4, 3, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wired(model, 2, 2, 3, 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
