"""The rules of pointwise operations: which channels are coupled, which only read, which must stay."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.wired import Between, wired
from torch_growl.networks.wiring.needed import bundles, needed_channels


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
