"""The layers that are penalised, the overrides and the balance between layers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.small_mlp import mlp, step
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.layers import row_norms
from torch_growl.networks.penalty.penalised_layers import Override


def test_default_layers_and_what_is_left_out_with_reasons() -> None:
    growl = tg.GrOWL(mlp())
    assert growl.layers == ("fc1", "fc2")
    assert growl.left_out == {"bn": "type has no registered rows view", "fc3": "the network's last layer"}
    assert "fc1 (Linear): 10 rows of 16" in repr(growl)
    assert "fc3: left out, the network's last layer" in repr(growl)


def test_overrides_go_from_type_over_pattern_to_name() -> None:
    overrides: dict[Any, Any] = {
        "fc1": {"strength": 3.0},
        nn.Linear: {"strength": 1.0, "sequence": tg.lasso()},
        "fc*": {"strength": 2.0},
    }
    growl = tg.GrOWL(mlp(), 0.5, layers=["*"], overrides=overrides, form="paper")
    norms = {name: row_norms(growl._model.get_submodule(name)).double().sum() for name in growl.layers}
    expected = 3 * norms["fc1"] + 2 * norms["fc2"] + 2 * norms["fc3"]
    torch.testing.assert_close(growl.penalty().double(), expected, rtol=1e-5, atol=0)


def test_an_override_can_skip_a_layer() -> None:
    growl = tg.GrOWL(mlp(), overrides={"fc1": {"skip": True}})
    assert growl.layers == ("fc2",)
    assert growl.left_out["fc1"] == "skipped by an override"
    with pytest.raises(LayerError, match="every chosen layer is skipped"):
        tg.GrOWL(mlp(), overrides={"Linear": {"skip": True}})


def test_balance_is_a_power_of_a_layers_share_of_the_weights() -> None:
    """Seen through the penalty's value: with equal rows and λ = 1, Ω / (√n ‖W‖) is 1, so what is left is b_l."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 12), torch.nn.Linear(12, 2))
    for layer in model:
        torch.nn.init.ones_(layer.weight)
    shares = [16 / 64, 48 / 64]
    for balance, power in (("none", 0.0), (0, 0.0), ("weights", 0.5), (0.5, 0.5), (1.0, 1.0), (2, 2.0), (None, 0.5)):
        growl = tg.GrOWL(model, 3.0, tg.lasso(), layers=["0", "1"], balance=balance)
        assert float(growl.penalty().detach()) == pytest.approx(3 * sum(share**power for share in shares))
    for wrong in (-0.1, 2.1, math.nan, True, "macs"):
        with pytest.raises(tg.GrowlError, match="balance must be"):
            tg.GrOWL(model, balance=wrong)


def test_a_layer_that_starts_at_zero_is_an_initialisation_not_a_pruning() -> None:
    model = mlp()
    nn.init.zeros_(model.fc2.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tg.GrOWL(model, 1e-3).attach(optimizer)
    nn.init.normal_(model.fc3.weight)
    step(model, optimizer)
    assert bool((row_norms(model.fc2) > 0).any())


def test_the_balance_is_the_root_of_the_share_of_weights() -> None:
    def penalty(balance: str) -> tuple[float, list[float]]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 5))
        whole = tg.GrOWL(model, 1.0, balance=balance, layers=["0", "2"])  # type: ignore[arg-type]
        alone = [tg.GrOWL(model, 1.0, balance="none", layers=[name]) for name in ("0", "2")]
        return whole.penalty().item(), [one.penalty().item() for one in alone]

    value, (first, second) = penalty("none")
    assert value == pytest.approx(first + second)
    value, (first, second) = penalty("weights")
    assert value == pytest.approx(math.sqrt(600 / 700) * first + math.sqrt(100 / 700) * second)


def test_an_override_object_is_as_good_as_a_dict() -> None:
    model = mlp()
    given = tg.GrOWL(model, overrides={"fc1": Override(strength=3.0), "fc2": Override(skip=True)})
    same = tg.GrOWL(model, overrides={"fc1": {"strength": 3.0}, "fc2": {"skip": True}})
    assert given.layers == same.layers == ("fc1",)
    assert torch.equal(given.penalty(), same.penalty())
    assert not torch.equal(given.penalty(), tg.GrOWL(model, overrides={"fc2": {"skip": True}}).penalty())


def test_an_unknown_field_names_the_closest_one() -> None:
    with pytest.raises(InvalidValueError, match="override 'fc1': unknown field 'strenght'; did you mean 'strength'"):
        tg.GrOWL(mlp(), overrides={"fc1": {"strenght": 1}})
