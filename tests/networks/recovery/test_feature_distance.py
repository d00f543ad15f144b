"""Features are compared where their shapes allow it, example by example, whatever their scale."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torch_growl as tg
from torch_growl.errors import InvalidValueError
from torch_growl.networks.recovery import FeatureDistance


def networks() -> tuple[nn.Sequential, nn.Sequential, torch.Tensor]:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 3))
    teacher = nn.Sequential(nn.Linear(4, 7), nn.Linear(7, 6), nn.Linear(6, 3))
    return student, teacher, torch.randn(8, 4)


def test_it_is_the_mean_squared_distance_of_directions_where_shapes_are_the_same() -> None:
    student, teacher, x = networks()
    distance = FeatureDistance(student, teacher)
    student(x)
    teacher(x)
    mine, theirs = (F.normalize(net[1](net[0](x)), dim=1) for net in (student, teacher))
    wanted = (mine - theirs).square().sum(1).mean()
    student(x)
    teacher(x)
    found = distance.value()
    torch.testing.assert_close(found, wanted)
    found.backward()
    assert student[1].weight.grad is not None
    assert student[2].weight.grad is None, "the last part's outputs are the network's"


class HeadFirst(nn.Module):
    """A network whose head is registered first and called last."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(5, 3), nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def test_the_part_that_is_called_last_is_left_out_wherever_it_is_registered() -> None:
    torch.manual_seed(0)
    student, teacher, x = HeadFirst(), HeadFirst(), torch.randn(8, 4)
    distance = FeatureDistance(student, teacher)
    for _ in range(2):
        student(x)
        teacher(x)
    found = distance.value()
    mine, theirs = (F.normalize(net.body(x), dim=1) for net in (student, teacher))
    torch.testing.assert_close(found, (mine - theirs).square().sum(1).mean())


def test_a_network_has_no_distance_from_itself_scaled() -> None:
    student, _, x = networks()
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        teacher[0].weight.mul_(3)
        teacher[0].bias.mul_(3)
    distance = FeatureDistance(student, teacher)
    student(x)
    teacher(x)
    found = distance.value()
    assert 0 <= found < 0.5
    distance.remove()
    assert not student[0]._forward_hooks
    assert not teacher[1]._forward_hooks


def test_of_a_compact_network_the_channels_that_were_kept_are_compared() -> None:
    torch.manual_seed(0)
    teacher, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 4)).eval(), torch.randn(5, 3, 4, 4)
    with torch.no_grad():
        teacher[2].weight[:, 4:12] = 0  # all that reads channels 1 and 2
    student = tg.compact(teacher, x)
    assert student[0].out_channels == 6
    distance = FeatureDistance(student, teacher)
    with torch.no_grad():
        student(x)
        teacher(x)
        assert distance.value() < 1e-6
        student[0].weight[3] += 1
        student(x)
        teacher(x)
        assert distance.value() > 1e-3


class Wrapped(nn.Module):
    """A network of one part, whose body's output is a dict: states first, then others."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.body, self.inner.head = nn.Linear(4, 5), nn.Linear(5, 3)
        self.inner.body.register_forward_hook(lambda module, args, output: {"states": output, "more": output * 0})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.inner.head(self.inner.body(x)["states"])
        return found


def test_a_single_child_is_looked_into_and_the_first_of_several_outputs_counts() -> None:
    torch.manual_seed(0)
    student, teacher, x = Wrapped(), Wrapped(), torch.randn(8, 4)
    distance = FeatureDistance(student, teacher)
    student(x)
    teacher(x)
    mine, theirs = (F.normalize(F.linear(x, n.inner.body.weight, n.inner.body.bias), dim=1) for n in (student, teacher))
    torch.testing.assert_close(distance.value(), (mine - theirs).square().sum(1).mean())


def test_networks_without_common_features_are_refused() -> None:
    student, teacher, x = networks()
    with pytest.raises(InvalidValueError, match="no two parts"):
        FeatureDistance(nn.Linear(4, 3), teacher)
    other = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 9), nn.Linear(9, 3))
    distance = FeatureDistance(student, other)
    with torch.no_grad():
        student(x[:4])
        other(x)
    with pytest.raises(InvalidValueError, match="features of the same shape"):
        distance.value()
