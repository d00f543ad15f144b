"""The built-in recipes: the paper's settings, one protocol for every row of a table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from tests.support.digits_run import run_digits
from torch_growl.application.models.registry import build_network
from torch_growl.application.recipes import builtin_recipes, load_recipe
from torch_growl.application.recipes.building import build_penalty, recipe_layers

KINDS = ("none", "weight-decay", "group-lasso", "group-lasso-l2", "growl", "growl-l2")


BUILTIN = {
    "digits",
    "mnist-best",
    "lenet5-mnist",
    *(f"mnist-{kind}" for kind in KINDS),
    *(f"vgg16-cifar10-{kind}" for kind in KINDS),
}


LAYERS = {  # the penalised ones, by the recipe's name or its first part
    "digits": ("fc1", "fc2", "fc3"),
    "mnist": ("fc1",),
    "mnist-best": ("fc1", "fc2"),
    "lenet5": ("conv2", "fc1", "fc2"),
    "vgg16": (*(f"conv{i}" for i in range(2, 14)), "fc1"),
}
VGG_LAYERS = list(LAYERS["vgg16"])


def test_the_built_in_recipes_are_these() -> None:
    assert set(builtin_recipes()) == BUILTIN


def test_recipes_that_compress_ask_for_a_target_unless_they_are_the_papers_rows() -> None:
    """A strength, and numbers of groups, are those of one dataset."""
    for name, recipe in builtin_recipes().items():
        steps = [value for values in (recipe.tying.groups or recipe.tying.left).values() for value in values]
        if recipe.target is None and recipe.tying.method != "shrink":
            assert any(word in recipe.description for word in ("the paper's", "The paper's")), name
        else:
            assert all(0 < value < 1 for value in steps), name
            assert recipe.growl is not None
            assert recipe.growl.strength == (None if recipe.target else 0)


@pytest.mark.slow
def test_the_first_run_prunes_and_ties_neighbouring_pixels_and_keeps_the_accuracy(tmp_path: Path) -> None:
    run = run_digits(tmp_path / "digits", {"threads": 1, "measure.repeats": 3})
    result = run.folder.result()
    assert result["compression"]["network"] >= 10
    assert result["accuracy"]["compact"] >= result["accuracy"]["dense"] - 0.01
    assert result["target"]["reached"]
    labels = torch.tensor(run.tying()["fc1"].partition.labels).view(16, 16)
    assert 100 < int((labels < 0).sum()) < 220  # pruned
    sizes = labels[labels >= 0].bincount()
    assert int((sizes > 1).sum()) > 15
    beside = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] >= 0)
    below = (labels[1:] == labels[:-1]) & (labels[1:] >= 0)
    assert int(beside.sum() + below.sum()) > 40  # pairs of neighbours that share; by chance there would be about five


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_a_built_in_recipe_builds_its_network_and_penalty_and_survives_its_file(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    model = build_network(recipe.model.name, **recipe.model.options)
    judge = None if recipe.accuracy_drop is None else {"validate": lambda network: 98.0}
    shape = {"digits": (2, 256), "lenet5-mnist": (2, 1, 28, 28)}.get(name, (2, 784))
    penalty = build_penalty(model, recipe, None if recipe.target is None else torch.rand(shape), judge)
    assert (penalty is None) == name.endswith(("none", "weight-decay", "mnist-best"))  # the last one shrinks in steps
    layers = recipe_layers(model, recipe)
    assert layers == LAYERS[name.split("-")[0] if name != "mnist-best" else name]
    if penalty is not None:
        assert penalty.layers == layers
    path = tmp_path / "stored.yaml"
    path.write_text(recipe.to_yaml())
    assert load_recipe(path) == recipe
    assert yaml.safe_load(recipe.to_yaml()) == recipe.model_dump()


GROUPS = {"group-lasso": 49, "group-lasso-l2": 33, "growl": 46, "growl-l2": 32}  # of the paper's table 1: 784 / 24.5 …


def test_the_rows_of_table_1_differ_in_the_penalty_and_the_groups_alone() -> None:
    """The paper's network, data, optimizer, batch and counting (layer 1); one protocol for all six rows."""
    first = load_recipe("mnist-growl")
    assert first.growl is not None
    for kind in KINDS:
        recipe = load_recipe(f"mnist-{kind}")
        assert recipe.growl is not None
        bare = kind in ("none", "weight-decay")
        decay = 5e-4 if kind.endswith("l2") or kind == "weight-decay" else 0
        assert (recipe.data, recipe.model) == (first.data, first.model)
        assert recipe.dense == first.dense.model_copy(update={"weight_decay": decay})
        assert (recipe.dense.optimizer, recipe.dense.batch_size, recipe.dense.momentum) == ("sgd", 128, 0.9)
        assert recipe.growl.layers == ["fc1"]
        if bare:  # the dense network as it is
            assert (recipe.train.epochs, recipe.retrain.epochs, recipe.tying.method) == (0, 0, "none")
            assert recipe.growl.strength == 0
            continue
        assert recipe.train == first.train.model_copy(update={"weight_decay": decay})
        assert (recipe.merge, recipe.retrain) == (first.merge, first.retrain)
        assert (recipe.growl.strength, recipe.growl.every) == (first.growl.strength, first.growl.every)
        *way, last = recipe.tying.groups["fc1"]
        assert last == GROUPS[kind]
        assert way == [groups for groups in (120, 84, 64, 54, 46, 38) if groups > last]
        assert recipe.growl.sequence.name == ("lasso" if kind.startswith("group-lasso") else "pld")


def test_vgg_carries_the_papers_settings_for_every_layer() -> None:
    lambda1 = [4.5, 11, 11, 11, 10, 9, 8, 7, 6.5, 5.5, 5.5, 3.5, 3.5]
    for kind, at_8 in [("growl", 8), ("growl-l2", 7.5)]:
        recipe = load_recipe(f"vgg16-cifar10-{kind}")
        assert recipe.growl is not None
        assert list(recipe.growl.overrides) == recipe.growl.layers == VGG_LAYERS
        shapes = {name: override.sequence for name, override in recipe.growl.overrides.items()}
        wanted = {**dict(zip(VGG_LAYERS, lambda1, strict=True)), "conv8": at_8}
        assert {name: shape.lambda1 for name, shape in shapes.items() if shape} == wanted
        assert {name: shape.lambda2 for name, shape in shapes.items() if shape} == {
            **dict.fromkeys(VGG_LAYERS, 0.1),
            "conv10": 0.07,
            "conv11": 0.05,
        }
        assert {shape.p for shape in shapes.values() if shape} == {0.1}
    lasso = {
        "group-lasso": [4.8, 11.4, 11.4, 11.4, 9.6, 9.6, 7.8, 6, 4.8, 4.2, 3.6, 3, 3],
        "group-lasso-l2": [4.6, 10.9, 10.9, 10.9, 9.2, 9.2, 7.5, 5.8, 4.6, 4, 3.5, 2.9, 2.9],
    }
    for kind, strengths in lasso.items():
        recipe = load_recipe(f"vgg16-cifar10-{kind}")
        assert recipe.growl is not None
        assert recipe.growl.sequence.name == "lasso"
        found = {name: override.strength for name, override in recipe.growl.overrides.items()}
        assert found == dict(zip(VGG_LAYERS, strengths, strict=True))
    for kind in KINDS:
        recipe = load_recipe(f"vgg16-cifar10-{kind}")
        phases = [(p.epochs, p.lr, p.gamma, p.step_size) for p in (recipe.dense, recipe.train, recipe.retrain)]
        epochs = 0 if kind == "none" else 150
        assert phases == [(150, 0.01, 0.1, 60), (epochs, 0.01, 0.1, 60), (50, 0.001, 0.1, 20)]
        assert recipe.train.weight_decay == (2e-3 if kind.endswith("l2") or kind == "weight-decay" else 0)
        assert (recipe.tying.preference, recipe.tying.max_ratio, recipe.tying.chain) == (0.8, 0.95, True)


def test_baselines_have_no_penalty_and_nothing_else_does_but_what_shrinks_in_steps() -> None:
    for name in BUILTIN:
        recipe = load_recipe(name)
        none = recipe.growl is None or recipe.growl.strength == 0
        assert none == (name.endswith(("none", "weight-decay")) or recipe.tying.method == "shrink"), name
