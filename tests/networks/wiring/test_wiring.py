"""The wiring: classes, readers, reasons, and what more must stay."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tests.support.wired import Between, wired
from torch_growl.networks.wiring.wiring import no_wiring


def test_readers_are_the_layers_that_read_a_channel() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maker, self.left, self.right, self.other = (nn.Linear(3, 3) for _ in range(4))

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            y = self.maker(x).relu()
            return self.left(y), self.right(y), self.other(x)

    found = wired(Fork(), 2, 3)
    assert {name: [link.consumer for link in links] for name, links in found.links.items()} == {
        "maker": ["left", "right"]
    }
    assert (found.links["maker"][1].inputs == found.outputs["maker"]).all()
    assert found.sources["left"] == found.sources["right"] != found.sources["other"] == found.sources["maker"]


def test_a_layer_that_must_stay_keeps_the_channels_that_it_reads() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    assert wired(model, 2, 3, **{"2": "of hooks"}).reasons["0"] == "its reader 2 must stay: of hooks"
    assert wired(model, 2, 3, **{"1": "of sharing"}).reasons["0"] == "of sharing"


def test_each_group_of_a_convolution_is_one_class() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1, groups=2), nn.Conv2d(4, 4, 1, groups=4))
    found = wired(nn.Sequential(*model, nn.Conv2d(4, 2, 1)), 2, 3, 4, 4)
    halves = found.outputs["0"].reshape(2, 4)
    assert (halves == halves[:, :1]).all()
    assert halves[0, 0] != halves[1, 0]
    assert (found.outputs["1"] == halves[[0, 0, 1, 1], 0]).all()
    assert (found.outputs["2"] == found.outputs["1"]).all()


def test_in_a_network_of_one_layer_or_one_that_fails_every_channel_stays() -> None:
    assert wired(nn.Linear(3, 2), 2, 3).reasons == {"": "its output is an output of the network"}

    class Fails(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("of weather\nand wind")

    found = wired(Fails(nn.Linear(3, 4), nn.Linear(4, 2)), 2, 3)
    assert found.links == {}
    assert found.reasons["0"] == "the network cannot be followed: RuntimeError: of weather"


def test_a_wiring_without_some_classes_keeps_them_and_names_the_reason() -> None:
    found = wired(Between(torch.relu, nn.Conv2d(4, 3, 1)), 2, 2, 3, 3)
    held = found.outputs["maker"][[1, 3]]
    less = found.without(held.tolist(), "was asked for")
    assert np.flatnonzero(less.pinned & ~found.pinned).tolist() == sorted(held.tolist())
    assert less.why[held[0]] == less.reasons["maker"] == "was asked for"
    assert not found.pinned[held].any()


def test_no_wiring_keeps_every_layer() -> None:
    assert no_wiring(["a"], "as asked").reasons == {"a": "as asked"}
    assert no_wiring(["a"], "as asked").links == {}
