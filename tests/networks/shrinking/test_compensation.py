"""Compensation: exact where inputs are linear in others, never worse on what it has not seen."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import torch_growl as tg
from tests.support.pruned_networks import set_rows_
from torch_growl.errors import GrowlWarning, InvalidValueError, LayerError
from torch_growl.networks.layers import rows_of
from torch_growl.networks.tying import existing_tying


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


@pytest.mark.parametrize("frozen", ["weight", "bias", "all"])
def test_a_frozen_layer_stays_unless_the_whole_network_is_frozen(frozen: str) -> None:
    dense, inputs = redundant("linear")
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[1].weight[:, 3] = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen != "all" and name != f"1.{frozen}")
    before = copy.deepcopy(model[1].state_dict())
    found = tg.compensate_(model, dense, inputs)
    same = all(torch.equal(value, before[name]) for name, value in model[1].state_dict().items())
    assert same is (frozen != "all")
    assert found.left == ({"1": "it is frozen"} if same else {})


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


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {  # the layer, its inputs, their dimension
    "Linear": (lambda: nn.Linear(6, 5), (64, 6), 1),
    "Linear without bias": (lambda: nn.Linear(6, 5, bias=False), (64, 6), 1),
    "Linear of tokens": (lambda: nn.Linear(6, 5), (16, 4, 6), 2),
    "Conv1d": (lambda: nn.Conv1d(6, 5, 3), (16, 6, 9), 1),
    "Conv2d": (lambda: nn.Conv2d(6, 5, 3, padding=1), (16, 6, 7, 7), 1),
    "Conv2d, reflected": (
        lambda: nn.Conv2d(6, 5, 3, stride=2, dilation=2, padding=2, padding_mode="reflect"),
        (16, 6, 9, 9),
        1,
    ),
    "Conv2d of two groups": (lambda: nn.Conv2d(6, 4, 3, groups=2), (16, 6, 7, 7), 1),
    "Conv3d": (lambda: nn.Conv3d(6, 5, (1, 2, 3)), (8, 6, 3, 4, 5), 1),
}


def of_one_layer(name: str) -> tuple[nn.Module, list[torch.Tensor]]:
    """A layer whose input 2 is a linear function of inputs 0 and 1, and whose input 4 is a multiple of input 3."""
    torch.manual_seed(0)
    layer, shape, dim = LAYERS[name]
    batches = [torch.randn(shape) for _ in range(4)]
    for x in batches:
        own = x.movedim(dim, 0)
        own[2] = 2 * own[0] - 0.5 * own[1]
        own[4] = 1.5 * own[3]
    return nn.Sequential(layer()).eval(), batches


def worst(model: nn.Module, dense: nn.Module, batches: list[torch.Tensor]) -> float:
    with torch.no_grad():
        return max(float((model(x) - dense(x)).abs().max()) for x in batches)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_rows_give_what_removed_inputs_carried_to_the_rest(name: str) -> None:
    dense, batches = of_one_layer(name)
    model = copy.deepcopy(dense)
    set_rows_(model[0], zero=[2])
    assert worst(model, dense, batches) > 0.1
    found = tg.compensate_(model, dense, batches)
    assert worst(model, dense, batches) < 1e-3
    assert not rows_of(model[0])[2].any()
    assert set(found.layers) == {"0"}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_tied_by_tie_stay_tied_and_take_the_best_common_row(name: str) -> None:
    dense, batches = of_one_layer(name)
    model = copy.deepcopy(dense)
    equal = copy.deepcopy(dense)
    set_rows_(equal[0], tied=[(3, 4)])
    tg.tie_(model, existing_tying(equal, ["0"]))
    assert worst(model, dense, batches) > 0.05
    tg.compensate_(model, dense, batches)
    assert worst(model, dense, batches) < 1e-3
    rows = rows_of(model[0])
    assert torch.equal(rows[3], rows[4])
    assert "original" in dict(model[0].parametrizations.weight.named_parameters())


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_a_mask_of_rows_keep_it(name: str) -> None:
    dense, batches = of_one_layer(name)
    model = copy.deepcopy(dense)
    set_rows_(model[0], zero=[2])
    prune.custom_from_mask(model[0], "weight", (model[0].weight != 0).float())
    with torch.no_grad():
        model[0].weight_orig.add_(1.0)
    with pytest.warns(GrowlWarning, match="made permanent in the copy"):
        tg.compensate_(model, dense, batches)
    assert not rows_of(model[0])[2].any()
    assert worst(model, dense, batches) < 1e-3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda layer: parametrizations.weight_norm(layer), "another parametrization than that of tie_"),
        (lambda layer: prune.l1_unstructured(layer, "weight", amount=3), "its prune mask is one of single weights"),
        (lambda layer: prune.random_unstructured(layer, "bias", amount=1), "its bias has a prune mask"),
        (lambda layer: nn.utils.spectral_norm(layer), "its weight has an old spectral_norm"),
    ],
    ids=["weight norm", "mask of weights", "mask of a bias", "old spectral norm"],
)
@pytest.mark.filterwarnings("ignore:made permanent")
def test_a_layer_that_cannot_be_written_is_left_with_the_reason(change: Any, reason: str) -> None:
    dense, inputs = redundant("linear")
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[1].weight[:, 3] = 0
    for network in (dense, model):
        torch.manual_seed(0)
        change(network[3])
    before = [value.clone() for value in model[3].parameters()]
    found = tg.compensate_(model, dense, inputs)
    assert list(found.layers) == ["1"]
    assert re.search(reason, found.left["3"])
    assert all(torch.equal(a, b) for a, b in zip(before, model[3].parameters(), strict=True))


def test_a_constant_input_goes_to_the_bias() -> None:
    dense, batches = of_one_layer("Linear")
    for x in batches:
        x[:, 5] = 3.0
    model = copy.deepcopy(dense)
    set_rows_(model[0], zero=[5])
    tg.compensate_(model, dense, batches)
    torch.testing.assert_close(model[0].bias, dense[0].bias + 3 * dense[0].weight[:, 5], rtol=1e-4, atol=1e-4)


def test_nan_weights_are_refused_by_layer_name() -> None:
    dense, inputs = redundant("linear")
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[1].weight[0, 0] = torch.nan
    with pytest.raises(LayerError, match="layer '1' has NaN or infinite weights"):
        tg.compensate_(model, dense, inputs)


def test_a_compiled_network_and_one_that_keeps_an_activation_are_fitted() -> None:
    dense, inputs = redundant("linear")
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[1].weight[:, 3] = 0
    model.kept = model(inputs[0])
    wrapped: Any = torch.compile(model, backend="eager")
    assert tg.compensate_(wrapped, dense, inputs).after < 1e-8
    torch.testing.assert_close(model(inputs[1]), dense(inputs[1]), atol=1e-3, rtol=1e-3)


def test_a_mean_that_was_estimated_anew_is_not_shifted_twice() -> None:
    """What the removed constant input gave is in the estimated mean already."""
    torch.manual_seed(0)
    inputs = [torch.cat([torch.randn(200, 8), torch.full((200, 1), 5.0)], 1) for _ in range(4)]
    dense = nn.Sequential(nn.Linear(9, 16, bias=False), nn.BatchNorm1d(16), nn.Tanh()).eval()
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[0].weight[:, 8] = 0
        model[1].running_mean -= 5 * dense[0].weight[:, 8] + 0.1
    found = tg.compensate_(model, dense, inputs)
    assert found.after < 1e-8 < found.before
