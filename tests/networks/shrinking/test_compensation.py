"""Compensation: exact where inputs are linear in others, never worse on what it has not seen."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import torch_growl as tg
from torch_growl.errors import GrowlWarning, InvalidValueError, LayerError


def redundant(kind: str) -> tuple[nn.Module, list[torch.Tensor]]:
    """A network in which channel 3 of the first layer is an affine function of the others."""
    torch.manual_seed(0)
    if kind == "linear":
        net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
        shape: tuple[int, ...] = (40, 5)
    else:
        bias = kind == "conv with bias"
        second = nn.Conv2d(4, 6, 3, bias=bias)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), second, nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 3))
        shape = (8, 3, 9, 9)
    with torch.no_grad():
        net[0].weight[3] = 2 * net[0].weight[0] - net[0].weight[1]
        net[0].bias[3] = 1.5
    return net.eval(), [torch.randn(shape) for _ in range(4)]


@pytest.mark.parametrize("kind", ["linear", "conv with bias", "conv before a norm"])
def test_an_input_that_is_an_affine_function_of_others_is_replaced_exactly(kind: str) -> None:
    dense, inputs = redundant(kind)
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[1].weight[:, 3] = 0
    found = tg.compensate_(model, dense, inputs)
    assert found.before > 0.01
    assert found.after < 1e-8
    assert not model[1].weight[:, 3].any()
    x = torch.randn_like(inputs[0])
    torch.testing.assert_close(model(x), dense(x), atol=1e-3, rtol=1e-3)


def test_ties_stay_bit_equal_and_take_the_best_common_row() -> None:
    dense, inputs = redundant("conv with bias")
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[1].weight[:, 1] = model[1].weight[:, 0]
        model[4].weight[:, 5] = 0
    found = tg.compensate_(model, dense, inputs)
    assert torch.equal(model[1].weight[:, 1], model[1].weight[:, 0])
    assert not model[4].weight[:, 5].any()
    assert found.after < 0.7 * found.before
    assert set(found.layers) <= {"1", "4"}
    assert all(after < before for before, after in found.layers.values())


def test_the_dense_network_is_its_own_compensation() -> None:
    dense, inputs = redundant("linear")
    model = copy.deepcopy(dense)
    assert tg.compensate_(model, dense, inputs) == tg.compensate_(model, dense, inputs)
    assert all(torch.equal(a, b) for a, b in zip(dense.parameters(), model.parameters(), strict=True))


class Wave(nn.Module):
    """Outputs that say nothing of how near its layer is to the wanted one."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(40 * self.a(x))


def test_what_would_be_worse_on_batches_not_seen_is_refused() -> None:
    torch.manual_seed(7)
    dense = Wave().eval()
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model.a.weight[:, 2] = 0
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(4, 30, 3)
    x[..., 2] = x[..., 0] + x[..., 2]
    with pytest.warns(GrowlWarning, match="would make the outputs worse .* nothing is changed"):
        found = tg.compensate_(model, dense, list(x))
    assert found.before == found.after
    assert not found.layers
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model, dense, inputs: (model, dense, inputs[:1]), "at least two batches"),
        (lambda model, dense, inputs: (model, nn.Linear(3, 2), inputs), "the same layers with weights of the same"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_changes(change: Any, message: str) -> None:
    dense, inputs = redundant("linear")
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[1].weight[:, 3] = 0
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InvalidValueError, match=message):
        tg.compensate_(*change(model, dense, inputs))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_tied_network_is_refused_by_layer_name() -> None:
    dense, inputs = redundant("linear")
    model = copy.deepcopy(dense)
    tg.tie_(model, tg.find_tying(model, layers=["1"], preference=0.9))
    with pytest.raises(InvalidValueError, match="layer '1' is parametrized"):
        tg.compensate_(model, dense, inputs)


def test_a_masked_network_is_refused_by_layer_name() -> None:
    dense, inputs = redundant("linear")
    model = copy.deepcopy(dense)
    prune.ln_structured(model[1], "weight", amount=1, n=2, dim=1)
    before = model[1].weight_orig.clone()
    with pytest.raises(LayerError, match="layer '1' has .*; make it permanent before its rows are fitted"):
        tg.compensate_(model, dense, inputs)
    assert torch.equal(model[1].weight_orig, before)


def test_a_compiled_network_and_one_that_keeps_an_activation_are_fitted() -> None:
    dense, inputs = redundant("linear")
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[1].weight[:, 3] = 0
    model.kept = model(inputs[0])
    wrapped: Any = torch.compile(model, backend="eager")
    assert tg.compensate_(wrapped, dense, inputs).after < 1e-8
    torch.testing.assert_close(model(inputs[1]), dense(inputs[1]), atol=1e-3, rtol=1e-3)
