"""Recipes by name and file, what they extend, and changes by key=value."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recipe_files import written
from torch_growl.application.recipes import load_recipe, parse_overrides
from torch_growl.application.recipes.schema import Growl
from torch_growl.errors import RecipeError


def test_settings_are_yaml_values_by_dotted_field() -> None:
    settings = ["train.epochs=3", "dense.lr=1e-3", "precision=no", "growl=null", "data.options={limit: 5}", "name=a=b"]
    parsed = parse_overrides(settings)
    assert parsed == {
        "train.epochs": 3,
        "dense.lr": 0.001,
        "precision": "no",
        "growl": None,
        "data.options": {"limit": 5},
        "name": "a=b",
    }
    recipe = load_recipe("digits", parsed)
    assert (recipe.train.epochs, recipe.dense.lr, recipe.precision, recipe.growl) == (3, 0.001, "no", None)
    assert (recipe.name, recipe.data.options) == ("a=b", {"limit": 5})
    assert load_recipe("digits").train.epochs != 3  # changes are not kept


def test_a_mapping_replaces_and_a_field_below_a_null_makes_one() -> None:
    recipe = load_recipe("digits", parse_overrides(["growl.sequence={name: pld, lambda1: 2, lambda2: 0.5}"]))
    assert recipe.growl is not None
    assert recipe.growl.sequence.model_dump() == {"name": "pld", "lambda1": 2, "lambda2": 0.5}
    recipe = load_recipe("digits", {"growl": None, "growl.strength": 0.25})
    assert recipe.growl is not None
    assert recipe.growl == Growl(strength=0.25)


@pytest.mark.parametrize("setting", ["train.epochs", "=3", "train..epochs=3", ".=1"])
def test_a_setting_of_another_form_is_an_error(setting: str) -> None:
    with pytest.raises(RecipeError, match="must look like key=value, as in train.epochs=3"):
        parse_overrides([setting])


def test_settings_that_cannot_be_read() -> None:
    with pytest.raises(RecipeError, match="setting 'seed' is given twice"):
        parse_overrides(["seed=1", "seed=2"])
    with pytest.raises(RecipeError, match="setting 'growl.layers', line 1: "):
        parse_overrides(["growl.layers=[fc1"])
    with pytest.raises(RecipeError, match="setting 'train.epochs.x': train.epochs = [0-9]+ has no fields"):
        load_recipe("mnist-growl", {"train.epochs.x": 3})


def test_a_recipe_that_does_not_exist() -> None:
    with pytest.raises(RecipeError, match=r"there is no recipe 'mnist-grwl'; did you mean 'mnist-growl'\?"):
        load_recipe("mnist-grwl")
    with pytest.raises(RecipeError, match="there is no recipe 'zzzz'; there are digits, .*, or a YAML file"):
        load_recipe("zzzz")
    with pytest.raises(RecipeError, match="there is no recipe file nowhere/mine.yaml"):
        load_recipe("nowhere/mine.yaml")
    with pytest.raises(RecipeError, match="there is no recipe file mine.yml"):
        load_recipe(Path("mine.yml"))


def test_a_file_extends_another_field_by_field_and_named_choices_whole(tmp_path: Path) -> None:
    written(tmp_path / "base.yaml", "extends: vgg16-cifar10-growl\ntrain: {epochs: 7}\nmodel: {name: 'mine:f'}\n")
    (tmp_path / "inner").mkdir()
    path = written(
        tmp_path / "inner" / "child.yaml",
        "extends: ../base.yaml\ntrain: {lr: 1e-2}\ngrowl: {sequence: {name: oscar, floor: 0}}\n",
    )
    recipe, parent = load_recipe(path), load_recipe("vgg16-cifar10-growl")
    assert recipe.name == "child"
    assert (recipe.train.epochs, recipe.train.lr, recipe.train.step_size) == (7, 0.01, 60)
    assert recipe.growl is not None
    assert recipe.growl.sequence.model_dump() == {"name": "oscar", "floor": 0}
    assert recipe.growl.form == "paper"
    assert (recipe.model.name, recipe.retrain) == ("mine:f", parent.retrain)


def test_a_recipe_that_cannot_be_extended_is_an_error(tmp_path: Path) -> None:
    written(tmp_path / "a.yaml", "extends: b.yaml\n")
    written(tmp_path / "b.yaml", "extends: a.yaml\n")
    with pytest.raises(RecipeError, match="a.yaml extends itself: .*a.yaml → .*b.yaml → .*a.yaml"):
        load_recipe(tmp_path / "a.yaml")
    with pytest.raises(RecipeError, match="extends must be a recipe's name or file, found 3"):
        load_recipe(written(tmp_path / "c.yaml", "extends: 3\n"))
    with pytest.raises(RecipeError, match="there is no recipe 'digit'; did you mean 'digits'"):
        load_recipe(written(tmp_path / "d.yaml", "extends: digit\n"))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="recipe.yaml cannot be read"):
        load_recipe(tmp_path / "recipe.yaml")


def test_another_method_of_tying_replaces_the_steps_of_the_extended_recipe(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("extends: digits\ntying: {method: affinity}\n")
    found = load_recipe(path)
    assert (found.tying.method, found.tying.groups, found.merge) == ("affinity", {}, None)


def test_steps_of_shrinking_replace_those_of_ward_and_keep_the_training_between(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: digits\ntying: {method: shrink, left: {bytes: [0.2, 0.1]}}\n")
    found = load_recipe(str(path), {})
    assert (found.tying.groups, found.tying.steps) == ({}, 2)
    assert found.merge == load_recipe("digits", {}).merge
    path.write_text("extends: digits\ntying: {groups: {fc1: [0.5, 0.3, 0.2]}}\n")
    assert load_recipe(path).tying.groups == {"fc1": [0.5, 0.3, 0.2]}
    assert load_recipe(path).merge == load_recipe("digits").merge
    assert load_recipe("digits", {"tying": {"method": "none"}}).merge is None


def test_a_target_that_is_no_setting_names_its_option() -> None:
    with pytest.raises(RecipeError, match="--target 'macs' must look like measure=share, as in --target macs=0.5"):
        parse_overrides(["macs"], "--target")
