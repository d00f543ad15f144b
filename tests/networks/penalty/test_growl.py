"""The GrOWL penalty: its value, its proximal step in both forms, its limits, its state."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.batteries import LAYERS, Case
from tests.support.small_mlp import descend, mlp, two_of
from torch_growl.errors import GrowlWarning, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.networks.layers import row_norms, rows_of


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"strength": -1}, InvalidValueError, "strength must be finite and ≥ 0, got -1"),
        ({"strength": float("nan")}, InvalidValueError, "strength must be finite"),
        ({"strength": "1"}, InvalidTypeError, "strength must be a number, got str"),
        ({"form": "scalefree"}, InvalidValueError, "form must be 'scale-free' or 'paper'"),
        ({"min_rows": 0}, InvalidValueError, "min_rows must be an integer ≥ 1"),
        ({"sequence": "pld"}, InvalidTypeError, "sequence must be made by pld"),
        ({"layers": ["fc9"]}, LayerError, "unknown layer 'fc9'; did you mean"),
        ({"overrides": {"fc9": {}}}, LayerError, "unknown layer 'fc9'"),
        ({"overrides": {nn.Conv2d: {}}}, LayerError, "no eligible layer of that type"),
        ({"overrides": {"fc3": {"strength": 1}}}, LayerError, "override for layer 'fc3', which is not penalised"),
        ({"overrides": {"fc1": {"strenght": 1}}}, InvalidValueError, "unknown field 'strenght'"),
        ({"overrides": {"fc1": {"strength": -1}}}, InvalidValueError, "override strength must be finite and ≥ 0"),
        ({"overrides": {"fc1": {"sequence": 1}}}, InvalidTypeError, "override sequence must be made by"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        tg.GrOWL(mlp(), **arguments)


def test_a_model_that_is_not_a_module_is_refused() -> None:
    with pytest.raises(InvalidTypeError, match=r"model must be a torch.nn.Module, got list"):
        tg.GrOWL([])  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_the_paper_step_is_the_prox_on_every_layer_type(case: Case, side: str) -> None:
    layer = case.make()
    growl = tg.GrOWL(nn.Sequential(layer), 1.0, tg.oscar(), layers=["0"], form="paper", side=side, min_rows=1)
    W = rows_of(layer, side).detach().clone()
    growl.prox_(0.05)
    expected = tg.prox_growl(W, 0.05 * tg.oscar()(len(W)))
    torch.testing.assert_close(rows_of(layer, side).detach(), expected)


def test_the_scale_free_step_keeps_each_layers_norm_and_the_rows_directions_and_order() -> None:
    model = mlp()
    growl = tg.GrOWL(model, 1.0, tg.pld(p=0.5, floor=0.3))
    before = {name: rows_of(model.get_submodule(name)).detach().clone() for name in growl.layers}
    growl.prox_(0.5)
    for name, rows in before.items():
        norms, after = rows.norm(dim=1), row_norms(model.get_submodule(name))
        torch.testing.assert_close(after.norm(), norms.norm())
        torch.testing.assert_close(rows_of(model.get_submodule(name)).detach(), rows * (after / norms).unsqueeze(1))
        order = norms.argsort()
        assert bool((after[order].diff() >= -1e-6).all())
        assert not torch.allclose(after, norms)


def test_the_scale_free_step_is_its_formula() -> None:
    model = mlp()
    W = rows_of(model.fc2).detach().clone()  # (16, 12)
    tg.GrOWL(model, 3.0, tg.oscar(0.2), layers=["fc2"]).prox_(0.05)
    threshold = 0.05 * 3.0 * tg.oscar(0.2)(16) / (4 * float(W.norm()))
    expected = tg.prox_growl(W, threshold)
    torch.testing.assert_close(rows_of(model.fc2).detach(), expected * (W.norm() / expected.norm()))


def test_scale_free_means_that_scale_and_width_do_not_matter() -> None:
    """Scaling W by c and lr by c² (as a scale-invariant loss does) gives the same rows, scaled by c."""
    a, b = mlp(), mlp()
    b.fc1.weight.data.mul_(7)
    for model, lr in ((a, 0.5), (b, 0.5 * 49)):
        tg.GrOWL(model, 1.0, layers=["fc1"]).prox_(lr)
    torch.testing.assert_close(b.fc1.weight, 7 * a.fc1.weight)
    assert not torch.equal(a.fc1.weight, mlp().fc1.weight)
    # and the penalty of equal rows under a constant sequence is the strength itself, whatever the width
    for width in (4, 64):
        layer = nn.Linear(width, 5)
        layer.weight.data.fill_(0.3)
        value = tg.GrOWL(nn.Sequential(layer), 2.5, tg.lasso(), layers=["0"]).penalty()
        torch.testing.assert_close(value, torch.tensor(2.5))


def test_the_penalty_is_differentiable_and_its_gradient_is_that_of_the_formula() -> None:
    model = mlp()
    growl = tg.GrOWL(model, 2.0, tg.lasso(), layers=["fc1"], form="paper")
    growl.penalty().backward()
    W = model.fc1.weight.detach()
    torch.testing.assert_close(model.fc1.weight.grad, 2 * W / W.norm(dim=0, keepdim=True))


def test_a_strength_of_zero_changes_nothing() -> None:
    model = mlp()
    before = copy.deepcopy(model.state_dict())
    tg.GrOWL(model, 0.0).prox_(1.0)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=1e-6, atol=0)


def test_without_a_loss_the_contrast_of_rows_grows_at_the_pace_the_docs_give() -> None:
    """(ρ − 1) grows by e^R, R = steps · lr · strength / ‖W‖², ρ a row's norm over the mean: docs/method.md."""
    layer = torch.nn.Linear(40, 9).double()
    directions = torch.nn.functional.normalize(layer.weight.detach().T, dim=1)  # (40, 9)
    lengths = 3 * (1 + 1e-4 * torch.linspace(-1, 1, 40, dtype=torch.float64))
    layer.weight.data.copy_((directions * lengths[:, None]).T)
    growl = tg.GrOWL(layer, 2.0, tg.lasso(), layers=[""], balance="none")
    for _ in range(300):
        growl.prox_(0.5)
    norms = layer.weight.detach().norm(dim=0)
    pace = 300 * 0.5 * 2.0 / float(layer.weight.detach().norm() ** 2)
    growth = (norms[-1] / norms.mean() - 1) / 1e-4
    assert float(growth) == pytest.approx(math.exp(pace), rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_weights(dtype: torch.dtype) -> None:
    model = mlp().to(dtype)
    growl = tg.GrOWL(model, 1.0, tg.lasso(), form="paper")
    W = rows_of(model.fc1).detach().clone()
    growl.prox_(0.1)
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float64: 1e-6}[dtype]  # a rounding of the scale
    expected = tg.prox_growl(W, torch.full((10,), 0.1, dtype=torch.float64))
    torch.testing.assert_close(rows_of(model.fc1).detach(), expected, rtol=tolerance, atol=tolerance)
    assert model.fc1.weight.dtype == dtype


def test_a_penalty_can_be_pickled_with_its_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.Conv2d(3, 4, 3), nn.Linear(12, 2))
    growl = tg.GrOWL(model, strength=5.0, layers=["0", "1"])
    growl.prox_(0.1)
    other = pickle.loads(pickle.dumps(growl))
    for each in (growl, other):
        each.prox_(0.1)
    assert other.steps == 2
    assert torch.equal(other._layers["1"].weight, model[1].weight)


def test_a_layer_frozen_later_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2))
    growl = tg.GrOWL(model, strength=5.0)
    model[0].requires_grad_(False)
    frozen, other = model[0].weight.clone(), model[2].weight.clone()
    growl.prox_(0.1)
    assert torch.equal(model[0].weight, frozen)
    assert not torch.equal(model[2].weight, other)
    model[0].requires_grad_(True)
    growl.prox_(0.1)
    assert not torch.equal(model[0].weight, frozen)


@pytest.mark.parametrize("form", ["scale-free", "paper"])
def test_a_layer_is_never_emptied_and_one_warning_names_it(form: str) -> None:
    model = mlp()
    growl = tg.GrOWL(model, 1e6, form=form, min_rows=3)
    largest = {n: set(row_norms(model.get_submodule(n)).argsort(descending=True)[:3].tolist()) for n in growl.layers}
    with pytest.warns(GrowlWarning, match="would have been emptied") as caught:
        for _ in range(3):
            growl.prox_(1.0)
    (warning,) = caught
    assert str(warning.message).startswith("layer 'fc1', 'fc2' would have been emptied")
    assert warning.filename == __file__
    assert growl.floored == {"fc1", "fc2"}
    assert growl.nonzero() == {"fc1": 3, "fc2": 3}
    for name in growl.layers:
        assert set(row_norms(model.get_submodule(name)).nonzero().flatten().tolist()) == largest[name]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_weights_are_refused_by_name_and_nothing_changes(value: float) -> None:
    model = mlp()
    growl = tg.GrOWL(model)
    model.fc2.weight.data[1, 2] = value
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(LayerError, match="layer 'fc2' has NaN or infinite weights in 1 of its 16 rows"):
        growl.prox_(0.1)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor.nan_to_num(7), before[key].nan_to_num(7))


def test_a_state_of_another_network_is_refused() -> None:
    state = tg.GrOWL(mlp(), layers=["fc1"]).state_dict()
    with pytest.raises(LayerError, match=r"the state is of layers \['fc1'\], not of \['fc1', 'fc2'\]"):
        tg.GrOWL(mlp()).load_state_dict(state)
    state["dead"]["fc1"] = torch.zeros(3, dtype=torch.bool)
    with pytest.raises(LayerError, match="layer 'fc1': the state has 3 rows, not 10"):
        tg.GrOWL(mlp(), layers=["fc1"]).load_state_dict(state)


def test_by_default_the_inputs_that_matter_stay_and_the_others_are_pruned() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    growl = tg.GrOWL(model, layers=["fc1"], min_rows=1)
    growl.attach(optimizer)
    for i in range(200):
        descend(model, optimizer, *two_of(10, 64, seed=i))
    assert (row_norms(model.fc1) > 0).tolist() == [True, True] + [False] * 8


def test_the_default_form_cannot_empty_a_layer_where_the_papers_form_does() -> None:
    """The reason for the default: a layer that BatchNorm follows has no gradient that would hold its scale up."""
    model = mlp()
    norm = row_norms(model.fc1).norm()
    default = tg.GrOWL(model, layers=["fc1"], min_rows=1)
    for _ in range(300):
        default.prox_(0.05)
    torch.testing.assert_close(row_norms(model.fc1).norm(), norm)
    assert not default.floored
    paper = tg.GrOWL(model, 0.1, layers=["fc1"], min_rows=1, form="paper")
    with pytest.warns(GrowlWarning, match="'fc1' would have been emptied"):
        for _ in range(300):
            paper.prox_(0.05)
    assert paper.nonzero() == {"fc1": 1}


@pytest.mark.parametrize("missing", ["dead", "steps", "count", "strength", "floored"])
def test_a_state_without_a_part_is_refused_and_changes_nothing(missing: str) -> None:
    growl = tg.GrOWL(nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 2)), strength=0.5)
    state = {**growl.state_dict(), "strength": 2.0, "steps": 7}
    del state[missing]
    with pytest.raises(InvalidValueError, match=f"has no '{missing}'"):
        growl.load_state_dict(state)
    assert (growl.strength, growl.steps) == (0.5, 0)
    with pytest.raises(InvalidValueError, match="has no 'dead'"):
        growl.load_state_dict(None)  # type: ignore[arg-type]
