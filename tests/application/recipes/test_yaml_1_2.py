"""YAML 1.2: plain values, and broken files refused with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recipe_files import written
from torch_growl.application.recipes import load_recipe
from torch_growl.errors import RecipeError

BROKEN = {
    "twice": ("name: x\nseed: 1\nseed: 2\n", "line 3: key 'seed' is given twice"),
    "inner twice": ("data: {name: a, name: b}\n", "line 1: key 'name' is given twice"),
    "syntax": ("name: x\ndata: [1, 2\n", "line 3: "),
    "list": ("- name\n", "line 1: must be a mapping of fields to values, found list"),
    "empty": ("", "line 1: must be a mapping of fields to values, found NoneType"),
    "number key": ("name: x\n1: 2\n", "line 2: key 1 must be text"),
    "object": ("name: !!python/object/apply:os.system ['true']\n", "line 1: could not determine a constructor"),
    "two documents": ("name: x\n---\nname: y\n", "line 2: but found another document"),
    "control character": ("name: \x07\n", "cannot be read as YAML"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_error_of_a_broken_file_has_its_line(case: str, tmp_path: Path) -> None:
    text, words = BROKEN[case]
    path = written(tmp_path / "recipe.yaml", text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_plain_values_are_yaml_1_2(tmp_path: Path) -> None:
    text = (
        "extends: digits\ndata: {name: x, options: {a: 1e-3, b: no, c: 1:30, d: 2020-01-01, e: .5, f: 012, g: true}}\n"
    )
    recipe = load_recipe(written(tmp_path / "r.yaml", text))
    wanted = {"a": 0.001, "b": "no", "c": "1:30", "d": "2020-01-01", "e": 0.5, "f": "012", "g": True}
    assert recipe.data.options == wanted
    again = load_recipe(written(tmp_path / "again.yaml", recipe.to_yaml()))
    assert again == recipe
    assert {type(value) for value in again.data.options.values()} == {float, str, bool}
