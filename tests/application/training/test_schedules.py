"""Learning rates and optimizers of a phase."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from torch_growl.application.recipes import Phase
from torch_growl.application.training.schedules import learning_rate, make_optimizer


def phase(**changes: Any) -> Phase:
    return Phase(**{"epochs": 4, "lr": 0.1, "batch_size": 16, **changes})


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, {0: 0.1, 3.9: 0.1}),
        ({"schedule": "step", "step_size": 2, "gamma": 0.5}, {0: 0.1, 1.9: 0.1, 2: 0.05, 4: 0.025}),
        ({"schedule": "cosine"}, {0: 0.1, 2: 0.05, 4: 0.0}),
        ({"schedule": "cosine", "warmup_epochs": 2}, {0: 0.0005, 1: 0.0505, 2: 0.1, 3: 0.05, 4: 0.0}),
    ],
)
def test_the_learning_rate_follows_its_schedule(changes: dict[str, Any], rates: dict[float, float]) -> None:
    assert {epoch: learning_rate(phase(**changes), epoch) for epoch in rates} == pytest.approx(rates, abs=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_an_optimizer_has_the_phases_settings_and_only_trained_parameters(name: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    made = make_optimizer(model, phase(optimizer=name, weight_decay=0.01, momentum=0.7))
    assert type(made).__name__.lower() == name
    (group,) = made.param_groups
    assert (len(group["params"]), group["lr"], group["weight_decay"]) == (3, 0.1, 0.01)
    assert group.get("momentum", 0.7) == 0.7
