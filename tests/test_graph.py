"""Who makes and who reads each channel: what is followed, what stops, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_growl.graph import Link, Wiring, wiring_of


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


@pytest.mark.parametrize("number", range(len(SAME)))
def test_operations_on_each_channel_by_itself_are_followed(number: int) -> None:
    found = wired(Between(SAME[number], nn.Conv2d(4, 3, 1)), 2, 2, 4, 4)
    assert found.links == {"maker": (Link("reader", 1),)}
    assert found.reasons == {"reader": "its output is an output of the network"}


@pytest.mark.parametrize(
    ("between", "block"),
    [
        (lambda x: x.flatten(1), 9),
        (lambda x: torch.flatten(x, start_dim=1), 9),
        (lambda x: x.view(x.size(0), -1), 9),
        (lambda x: x.reshape(x.shape[0], -1), 9),
        (lambda x: torch.reshape(x, (x.size(0), -1)), 9),
        (lambda x: x.view((x.size()[0], -1)), 9),
        (lambda x: x.flatten(2).flatten(1), 9),
        (lambda x: x.mean((2, 3)), 1),
        (lambda x: x.mean(3).amax(dim=2), 1),
        (lambda x: torch.mean(x, dim=(-2, -1), keepdim=True).flatten(1), 1),
        (lambda x: x.amax(3).flatten(-2), 3),
    ],
)
def test_flattening_makes_a_block_of_inputs_of_every_channel(between: Callable[[Tensor], Tensor], block: int) -> None:
    found = wired(Between(between, nn.Linear(4 * block, 3)), 2, 2, 3, 3)
    assert found.links == {"maker": (Link("reader", block),)}


STOPS = [
    (lambda x: x + x.flip(0), nn.Conv2d(4, 3, 1), "flip, which is not known|meets another tensor in add"),
    (lambda x: torch.cat([x, x], 1), nn.Conv2d(8, 3, 1), "cat"),
    (lambda x: x.permute(0, 2, 3, 1), nn.Linear(4, 3), "permute"),
    (lambda x: x.softmax(1), nn.Conv2d(4, 3, 1), "softmax"),
    (lambda x: x[:, :2], nn.Conv2d(2, 3, 1), "getitem"),
    (lambda x: x.view(-1, 36), nn.Linear(36, 3), "view"),
    (lambda x: x.flatten(2), nn.Linear(9, 3), "takes another dimension"),
    (lambda x: x.transpose(1, 2).flatten(2), nn.Linear(12, 3), "transpose"),
    (lambda x: x.mean(1, keepdim=True), nn.Conv2d(1, 3, 1), "mean"),
    (lambda x: x.mean().reshape(1, 1), nn.Linear(1, 3), "mean"),
    (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], nn.Conv2d(4, 3, 1), "max_pool2d"),
    (lambda x: x / x.size(1), nn.Conv2d(4, 3, 1), "size"),
    (lambda x: x * x.shape[1], nn.Conv2d(4, 3, 1), "getattr"),
    (lambda x: x, nn.Conv2d(4, 6, 1, groups=2), "reader is a grouped convolution"),
    (lambda x: x.flatten(0, 1).unsqueeze(0), nn.Conv2d(8, 3, 1), "flatten"),
]


@pytest.mark.parametrize("number", range(len(STOPS)))
def test_everything_else_stops_with_its_name(number: int) -> None:
    between, reader, reason = STOPS[number]
    found = wired(Between(between, reader), 2, 2, 3, 3)
    assert "maker" not in found.links
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reasons["maker"])


def test_normalisations_on_the_way_are_noted_with_their_block() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 5), nn.Linear(5, 2)
    )
    found = wired(model, 2, 2, 3, 3)
    assert found.norms["0"] == (("1", 1), ("3", 9))
    assert found.links["0"] == (Link("4", 9),)
    assert found.norms["4"] == ()


def test_a_normalisation_of_another_dimension_stops() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(5), nn.Linear(6, 2))
    assert "not known to keep channels apart" in wired(model, 2, 5, 3).reasons["0"]


def test_a_per_channel_parameter_that_is_not_understood_stops() -> None:
    assert "0" in wired(nn.Sequential(nn.Conv2d(2, 4, 1), nn.PReLU(), nn.Conv2d(4, 2, 1)), 2, 2, 3, 3).links
    assert "0" in wired(nn.Sequential(nn.Conv2d(2, 4, 1), nn.PReLU(4), nn.Conv2d(4, 2, 1)), 2, 2, 3, 3).reasons


def test_what_must_stay_stops_those_before_it() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    assert wired(model, 2, 3, **{"2": "of hooks"}).reasons["0"] == "its reader 2 must stay: of hooks"
    assert wired(model, 2, 3, **{"1": "of sharing"}).reasons["0"] == "of sharing"


def test_a_layer_called_twice_stays_and_stops_those_before_it() -> None:
    shared = nn.Linear(4, 4)
    found = wired(nn.Sequential(nn.Linear(3, 4), shared, nn.ReLU(), shared, nn.Linear(4, 2)), 2, 3)
    assert found.links == {}
    assert found.reasons["1"] == "it is called 2 times"
    assert found.reasons["0"] == "its reader 1 must stay: it is called 2 times"


def test_pooling_over_the_dimension_of_channels_stops() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.MaxPool1d(2), nn.Linear(3, 2))
    assert "read by 1" in wired(model, 2, 3).reasons["0"]


def test_a_network_that_is_one_layer_or_cannot_be_traced_has_no_cuts() -> None:
    assert wired(nn.Linear(3, 2), 2, 3).reasons == {"": "it is the whole network: its output is the network's"}

    class Branch(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    found = wired(Branch(nn.Linear(3, 4), nn.Linear(4, 2)), 2, 3)
    assert found.links == {}
    assert "cannot be traced: symbolically traced variables" in found.reasons["0"]


def test_nothing_reads_it() -> None:
    class Forgets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor, scale: float = 1.0, *more: Tensor, skip: bool = False) -> Tensor:
            self.a(x)
            return x if skip else self.b(x) * scale

    assert wired(Forgets(), 2, 3).reasons["a"] == "nothing reads its output"
    found = wiring_of(Forgets(), (torch.randn(2, 3),), {"skip": True})
    assert found.reasons["b"].startswith("it is not called in the trace")
