"""Recipes with a comment on every field."""

from __future__ import annotations

from pathlib import Path

import pytest

from torch_growl.application.authoring.explanation import explained, explained_recipe
from torch_growl.application.recipes import load_recipe


@pytest.mark.parametrize("name", ["digits", "mnist-best", "mnist-growl-l2", "vgg16-cifar10-growl-l2"])
@pytest.mark.parametrize("defaults", [False, True])
def test_an_explained_recipe_loads_as_the_recipe_does(name: str, defaults: bool, tmp_path: Path) -> None:
    recipe, path = load_recipe(name), tmp_path / "explained.yaml"
    path.write_text(explained_recipe(recipe, defaults=defaults), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_every_field_is_explained_once() -> None:
    lines = explained_recipe(load_recipe("mnist-best")).splitlines()
    assert lines[0] == "# Name of the recipe, and of the run folder unless --out is given."
    assert lines.count("  # Passes over the training data; 0: no training.") == 1
    assert [line for line in lines if line.strip().startswith("epochs")] == [f"  epochs: {n}" for n in (30, 0, 8, 40)]
    assert max(map(len, lines)) <= 120
    assert "  # The number of rows that are left in a layer at least." not in lines  # a default


def test_characters_that_yaml_does_not_allow_are_escaped_in_comments(tmp_path: Path) -> None:
    layer = "a\x07b\x85c\u2028d\ne\té"
    fields = load_recipe("digits").model_dump(exclude_unset=True) | {"growl": {"layers": [layer]}}
    text = explained(fields, {"growl.layers": [f"{layer} is left out"]}, [f"The layer {layer}."])
    (tmp_path / "own.yaml").write_text(text, "utf-8")
    assert load_recipe(str(tmp_path / "own.yaml")).growl.layers == [layer]
    assert text.startswith(r"# The layer a\x07b c d e é.")


def test_white_space_in_comments_is_a_space() -> None:
    assert explained({}, {}, ["two\nlines,\ta tab, thin\u202fand fixed\xa0space"]) == (
        "# two lines, a tab, thin and fixed space\n"
    )


def test_with_defaults_all_fields_are_there() -> None:
    lines = explained_recipe(load_recipe("digits"), defaults=True).splitlines()
    assert "  # The number of rows that are left in a layer at least." in lines
    assert "  min_rows: 4" in lines
    assert "precision: 'no'" in lines


def test_notes_follow_the_meaning_of_their_field_and_the_head_comes_first() -> None:
    text = explained({"seed": 3, "train": {"epochs": 2}}, {"train.epochs": ["Two."]}, ["First.", "", "Second."])
    assert text == (
        "# First.\n#\n# Second.\n\n# Seed of all random numbers.\nseed: 3\n\n# Training with the penalty.\ntrain:\n"
        "  # Passes over the training data; 0: no training.\n  # Two.\n  epochs: 2\n"
    )
