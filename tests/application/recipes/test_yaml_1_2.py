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


ALIASES = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 8))
HOSTILE = {
    "a tag without its value": ("name: !!bool foo\n", "cannot be read as YAML"),
    "a number without digits": ('name: !!int ""\n', "cannot be read as YAML"),
    "a character beyond Unicode": ('name: "\\UFFFFFFFF"\n', "cannot be read as YAML"),
    "half a character": ('name: "\\ud800"\n', "cannot be read as YAML"),
    "a list in itself": ("name: &a [*a]\n", "line 1: a value contains itself"),
    "a mapping in itself": ("name: x\ndata: &a {name: y, options: {z: *a}}\n", "line 2: a value contains itself"),
    "millions of aliases": (ALIASES, "more than 100,000 values"),
    "deep lists": (f"name: {'[' * 60}{']' * 60}\n", "more than 50 values in each other"),
    "very deep lists": (f"name: {'[' * 50_000}\n", "cannot be read as YAML"),
    "a set": ("name: !!set {a}\n", "line 1: could not determine a constructor"),
    "a long number": (f"name: x\nseed: {'1' * 5000}\n", "cannot be read as YAML"),
    "a long file": (f"# {'x' * 1_000_000}\n", "is too long: a recipe has at most 1,000,000 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_line_of_refusal(case: str, tmp_path: Path) -> None:
    text, words = HOSTILE[case]
    path = written(tmp_path / "recipe.yaml", text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_alias_stands_for_its_value(tmp_path: Path) -> None:
    text = "extends: digits\ndata: {name: x, options: {a: &a [1, 2], b: *a}}\n"
    assert load_recipe(written(tmp_path / "r.yaml", text)).data.options == {"a": [1, 2], "b": [1, 2]}
