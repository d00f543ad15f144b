"""Weights of half precision are shrunk as those of float32, and what is wrong with weights is named as it is."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.optimizer_task import OPTIMIZERS, kept_rows
from tests.support.small_mlp import mlp, step
from torch_growl.errors import GrowlWarning, LayerError

HALF = [torch.bfloat16, torch.float16]


def without_a_loss(dtype: torch.dtype, capturable: bool, steps: int = 1200) -> tuple[torch.Tensor, float]:
    """The rows that are left, and the layer's norm over what it was, after steps of the prox alone."""
    torch.manual_seed(1)
    layer = nn.Linear(48, 64).to(dtype)
    norm = float(layer.weight.detach().double().norm())
    growl = tg.GrOWL(nn.Sequential(layer), 1.5, layers=["0"], capturable=capturable)
    for _ in range(steps):
        growl.prox_(0.1)
    return (layer.weight != 0).any(dim=0), float(layer.weight.detach().double().norm()) / norm


@pytest.mark.slow
@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("dtype", HALF)
def test_the_rows_that_float32_removes_are_removed(dtype: torch.dtype, capturable: bool) -> None:
    """One step shrinks by 10⁻⁵ to 10⁻³, neighbouring bfloat16 numbers are 4 · 10⁻³ to 8 · 10⁻³ apart."""
    steps = 400 if capturable else 1200
    wanted, _ = without_a_loss(torch.float32, capturable, steps)
    left, norm = without_a_loss(dtype, capturable, steps)
    assert 20 < int(wanted.sum()) < 47
    assert int((left != wanted).sum()) <= 1
    assert norm == pytest.approx(1.0, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_a_bfloat16_network_keeps_about_as_many_rows_as_one_of_float32(name: str) -> None:
    wanted, kept = (kept_rows(OPTIMIZERS[name], dtype=dtype)[0] for dtype in (torch.float32, torch.bfloat16))
    assert wanted / 1.3 <= kept <= wanted * 1.3


@pytest.mark.parametrize("capturable", [False, True])
def test_factors_that_were_not_applied_yet_are_in_the_state(capturable: bool) -> None:
    def steps(growl: tg.GrOWL, number: int) -> tg.GrOWL:
        for _ in range(number):
            growl.prox_(0.1)
        return growl

    def made(model: nn.Module) -> tg.GrOWL:
        return tg.GrOWL(model, 3.0, capturable=capturable)

    whole, first = mlp().bfloat16(), mlp().bfloat16()
    steps(made(whole), 60)
    state = steps(made(first), 31).state_dict()
    assert any(bool((factors != 1).any()) for factors in state["owed"].values())
    second = copy.deepcopy(first)
    growl = made(second)
    growl.load_state_dict(state)
    steps(growl, 29)
    assert torch.equal(whole.fc1.weight, second.fc1.weight)
    assert torch.equal(whole.fc2.weight, second.fc2.weight)
    del state["owed"]  # as older versions wrote it
    made(second).load_state_dict(state)


def test_a_network_made_float32_owes_nothing() -> None:
    model = mlp().bfloat16()
    growl = tg.GrOWL(model, 3.0)
    growl.prox_(0.1)
    assert bool((growl._step.owed(0) != 1).any())
    model.float()
    growl.prox_(0.0)
    assert bool((growl._step.owed(0) == 1).all())


@pytest.mark.parametrize("size", [1e25, 1e-30])
def test_large_and_small_finite_weights_are_what_they_are(size: float) -> None:
    """Their squares are outside the range of float32."""
    layer = nn.Linear(3, 4).bfloat16()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, 3.0]).expand(4, 3) * size)
    before = layer.weight.detach().clone()
    growl = tg.GrOWL(nn.Sequential(layer), 0.0, layers=["0"])
    growl.prox_(1.0)
    assert torch.equal(layer.weight, before)
    assert growl.nonzero() == {"0": 3}


@pytest.mark.filterwarnings("ignore:.*would have been emptied")  # by the strength that Muon needs
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_of_nan_is_reported_as_the_weights_it_has_made(name: str) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 2))
    optimizer = OPTIMIZERS[name](model)
    tg.GrOWL(model, 1.0 if name == "Muon" else 1e-3).attach(optimizer)
    for value in (1.0, float("nan")):
        optimizer.zero_grad()
        model(torch.randn(8, 6)).square().mean().backward()
        model[2].weight.grad.mul_(value)
        if value == 1.0:
            optimizer.step()
    with pytest.raises(LayerError, match="layer '2' has NaN or infinite weights in 8 of its 8 rows"):
        optimizer.step()


def test_the_warning_of_a_strength_that_is_too_high_comes_once_from_the_users_line() -> None:
    model = mlp()
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=0.5)
    growl = tg.GrOWL(model, 1e3)
    growl.attach(optimizer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GrowlWarning)
        for i in range(5):
            step(model, optimizer, i)
    (warning,) = caught
    assert warning.filename.endswith("small_mlp.py"), "the line of optimizer.step()"
    assert growl.floored == {"fc1", "fc2"}
