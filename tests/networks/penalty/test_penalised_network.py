"""The description of a penalised network: its layers, the rows that are left, and what it shows."""

from __future__ import annotations

import torch

import torch_growl as tg


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5), torch.nn.Linear(5, 2))


def test_rows_that_are_not_zero_are_counted_for_every_penalised_layer() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[:, :2] = 0
        model[2].weight[:, 7] = 0
        model[3].weight.zero_()  # the last layer is not penalised
    assert tg.GrOWL(model).nonzero() == {"0": 4, "2": 7}


def test_the_description_names_strength_or_target_and_every_layer() -> None:
    model = network()
    text = repr(tg.GrOWL(model, 2.5))
    assert "strength=2.5" in text
    assert "  0 (Linear): 6 rows of 8\n  2 (Linear): 8 rows of 5\n  3: left out, the network's last layer" in text
    goal = tg.GrOWL(model, target=tg.Target(weights=0.8), example_inputs=torch.randn(3, 6), min_rows=1)
    assert "target=Target(weights=0.8)" in repr(goal)
    assert "strength" not in repr(goal).splitlines()[0]
