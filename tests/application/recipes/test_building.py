"""From a recipe to a penalty, its layers and a tying."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torch_growl.application.recipes import load_recipe
from torch_growl.application.recipes.building import build_penalty, find_step, recipe_layers, row_side
from torch_growl.errors import LayerError


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3))


def test_every_setting_of_the_penalty_is_handed_on() -> None:
    model = network()
    changes = {
        "growl": {"strength": 0.5, "sequence": {"name": "oscar", "floor": 0.25}, "form": "paper", "side": "output"},
        "growl.layers": ["0", "2"],
        "growl.overrides": {"2": {"strength": 2.0, "sequence": {"name": "lasso"}}},
    }
    penalty = build_penalty(model, load_recipe("digits", changes))
    assert penalty is not None
    assert penalty.layers == ("0", "2")
    norms = [model[i].weight.detach().norm(dim=1).sort(descending=True).values.double() for i in (0, 2)]
    oscar = torch.linspace(1, 0.25, 9, dtype=torch.float64)
    wanted = 0.5 * (oscar * norms[0]).sum() + 2.0 * norms[1].sum()
    torch.testing.assert_close(penalty.penalty().detach().double(), wanted, rtol=1e-5, atol=0)


def test_without_a_penalty_the_layers_are_those_it_would_be_on() -> None:
    bare, none = load_recipe("digits", {"growl.strength": 0}), load_recipe("digits", {"growl": None})
    assert build_penalty(network(), bare) is None
    assert build_penalty(network(), none) is None
    assert recipe_layers(network(), bare) == ("0", "2", "4")  # the recipe asks for all
    assert recipe_layers(network(), none) == ("0", "2")  # the default leaves out the last
    assert (row_side(none), row_side(load_recipe("digits", {"growl.side": "output", "growl.strength": 1}))) == (
        "input",
        "output",
    )


@pytest.mark.parametrize("target", [None, {"weights": 0.5}])
def test_channels_are_penalised_and_rows_of_inputs_are_tied(target: dict[str, float] | None) -> None:
    changes = {"growl.side": "channel", "growl.layers": None, "target": target}
    recipe = load_recipe("digits", changes if target is None else {**changes, "growl.strength": None})
    penalty = build_penalty(network(), recipe, torch.zeros(8, 12))
    assert penalty is not None
    assert penalty.nonzero() == {"0": 9, "2": 8}
    assert recipe_layers(network(), recipe) == (("0", "2") if target is None else ("0", "2", "4"))
    assert row_side(recipe) == "input"


def test_a_target_gets_the_run_s_batches() -> None:
    batches = [torch.zeros(4, 12), torch.ones(4, 12)]
    for given, text in ((True, "compensate=2 batches"), (False, "compensate=False")):
        recipe = load_recipe("digits", {"target": {"weights": 0.5, "compensate": given}})
        assert recipe.is_compensated is given
        judge = {"compensate": batches} if given else None
        assert text in repr(build_penalty(network(), recipe, batches[0], judge))


def test_a_layer_that_the_network_does_not_have_is_named() -> None:
    with pytest.raises(LayerError, match="unknown layer '7'"):
        recipe_layers(network(), load_recipe("digits", {"growl.layers": ["7"]}))


def test_the_steps_of_tying_are_found_one_by_one() -> None:
    phase = {"epochs": 1, "lr": 0.1}
    tying = {"method": "ward", "groups": {"0": [8, 3], "2": [0.5, 2]}}
    recipe = load_recipe("digits", {"tying": tying, "merge": phase})
    first, last = (find_step(network(), ("0", "2"), recipe, step) for step in (0, -1))
    assert [layer.partition.n_groups for layer in first] == [8, 4]
    assert [layer.partition.n_groups for layer in last] == [3, 2]


def test_with_a_target_the_rows_of_the_last_layer_are_held_in_retraining_too() -> None:
    recipe = load_recipe("digits", {"target": {"weights": 0.5}, "growl": {}})
    penalty = build_penalty(network(), recipe, torch.zeros(8, 12))
    assert penalty is not None
    assert recipe_layers(network(), recipe) == penalty.layers == ("0", "2", "4")
    skipped = load_recipe("digits", {"target": {"weights": 0.5}, "growl": {"overrides": {"4": {"skip": True}}}})
    assert recipe_layers(network(), skipped) == ("0", "2")
