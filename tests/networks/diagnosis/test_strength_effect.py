"""The exponent R and the rows that go are those of the proximal steps themselves, without a loss."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

import torch_growl as tg
from torch_growl.networks.diagnosis.strength_effect import StrengthEffect
from torch_growl.networks.layers import row_norms


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 60), nn.ReLU(), nn.Linear(60, 40), nn.ReLU(), nn.Linear(40, 6))
    with torch.no_grad():
        model[2].weight.mul_(torch.linspace(0.2, 2, 60))
    return model


X = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))


def effects(model: nn.Module, strength: float, optimizer: Optimizer | float, steps: int) -> dict[str, StrengthEffect]:
    found = tg.doctor(model, X, strength=strength, optimizer=optimizer, steps=steps, layers=["2", "4"])
    return {effect.layer: effect for effect in found.effects}


def test_the_exponent_is_that_of_the_method() -> None:
    model = network()
    found = effects(model, 1.5, 0.1, 300)
    for layer in ("2", "4"):
        weight = model.get_parameter(f"{layer}.weight").detach()
        balance = (weight.numel() / (60 * 40 + 40 * 6)) ** 0.5
        expected = 300 * 0.1 * 1.5 * balance / float(weight.norm() ** 2)
        assert found[layer].exponent == pytest.approx(expected, rel=1e-5)


def alone(model: nn.Module, strength: float, steps: int) -> StrengthEffect:
    found = tg.doctor(model, X, strength=strength, optimizer=0.1, steps=steps, layers=["2"])
    return found.effects[0]


@pytest.mark.parametrize(("strength", "least"), [(3.0, 1), (10.0, 8)])
def test_rows_go_as_said_if_the_loss_does_not_resist(strength: float, least: int) -> None:
    model, steps = network(), 400
    said = alone(model, strength, steps)
    growl = tg.GrOWL(model, strength, layers=["2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)  # that the layer would have been emptied
        for _ in range(steps):
            growl.prox_(0.1)
    gone = 60 - growl.nonzero()["2"]
    assert said.rows == 60
    assert gone >= least
    assert abs(said.gone - gone) <= max(2, 0.1 * gone)


def test_the_floor_is_reached_by_the_step_that_is_said() -> None:
    model = network()
    said = alone(model, 100.0, 400)
    assert said.floor_step is not None
    growl = tg.GrOWL(model, 100.0, layers=["2"])
    reached = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)  # that the layer would have been emptied
        for step in range(1, 401):
            growl.prox_(0.1)
            if growl.nonzero()["2"] <= 4:
                reached = step
                break
    assert reached is not None
    assert said.floor_step == pytest.approx(reached, rel=0.2, abs=2)
    assert said.verdict(4000) == f"only min_rows left by step {said.floor_step} unless the loss resists"


def test_verdicts() -> None:
    assert StrengthEffect("a", 0.9, 40, 12, None).verdict(100) == "no effect: R is below 1"
    assert StrengthEffect("a", 3.0, 40, 12, None).verdict(100) == "at most 12 of 40 rows go"
    assert StrengthEffect("a", 3.0, 40, 36, 90).verdict(100) == "at most 36 of 40 rows go"
    assert StrengthEffect("a", 30.0, 40, 36, 40).verdict(100).startswith("only min_rows left by step 40")


def with_gradients(model: nn.Module) -> nn.Module:
    model(X).square().sum().backward()
    return model


OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.1),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_length_of_a_step_is_that_of_the_optimizer(name: str) -> None:
    model = with_gradients(network())
    optimizer = OPTIMIZERS[name](model.parameters())
    before = copy.deepcopy(model.state_dict())
    found = effects(model, 1.0, optimizer, 10)["2"].exponent / effects(model, 1.0, 0.1, 10)["2"].exponent
    gradient = model.get_parameter("2.weight").grad
    assert gradient is not None
    rms = float(gradient.square().mean().sqrt())
    if name in ("Adam", "AdamW", "NAdam"):
        assert found == pytest.approx(1 / rms, rel=1e-3)
    elif name in ("SGD", "momentum"):
        assert found == pytest.approx(10 if name == "momentum" else 1)
    else:
        assert found > 0
        assert found != pytest.approx(1, rel=1e-3)
    assert all(float(state.get("step", 0)) == 0 for state in optimizer.state.values())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Own(torch.optim.Optimizer):
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 1e-3})

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        raise NotImplementedError


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"strength": 1.0}, "strength, optimizer and steps go together"),
        ({"strength": 1.0, "optimizer": 0.1, "steps": 0}, "steps must be"),
        ({"strength": -1.0, "optimizer": 0.1, "steps": 5}, "strength must be"),
        ({"strength": 1.0, "optimizer": 0.0, "steps": 5}, "optimizer must be.*learning rate of SGD"),
        ({"strength": 1.0, "optimizer": "Adam", "steps": 5}, "depend on the size of the gradient, and '2' has none"),
        ({"strength": 1.0, "optimizer": "Own", "steps": 5}, "Own is measured in training and not known before"),
        ({"strength": 1.0, "optimizer": "LBFGS", "steps": 5}, "LBFGS cannot be combined"),
        ({"strength": 1.0, "optimizer": "first", "steps": 5}, "does not train the weight of '2'"),
    ],
)
def test_what_cannot_be_said_is_refused(given: dict[str, Any], text: str) -> None:
    model = network()
    made: dict[Any, Any] = {
        "Adam": lambda: torch.optim.Adam(model.parameters()),
        "Own": lambda: Own(model.parameters()),
        "LBFGS": lambda: torch.optim.LBFGS(model.parameters()),
        "first": lambda: torch.optim.SGD(model[0].parameters(), lr=0.1),
    }
    if given.get("optimizer") in made:
        given = {**given, "optimizer": made[given["optimizer"]]()}
    with pytest.raises(tg.GrowlError, match=text):
        tg.doctor(model, X, layers=["2", "4"], **given)


def test_zero_rows_and_layers_of_zeros_count_as_none() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight[:, :10] = 0
        model[4].weight.zero_()
    found = effects(model, 1.0, 0.1, 50)
    assert found["2"].rows == 50
    assert (found["4"].rows, found["4"].exponent, found["4"].floor_step) == (0, 0.0, None)
    assert int((row_norms(model[2]) > 0).sum()) == 50
