"""Names of users' own functions: what is imported, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from torch_growl.application.recipes.entry_points import check_options, load_object
from torch_growl.errors import RecipeError


@pytest.mark.parametrize("spec", ["module", "module:", ":function", "a b:c", "module:f:g", "os.path/x:f"])
def test_a_name_that_is_no_entry_point(spec: str) -> None:
    with pytest.raises(RecipeError, match="x.y = .* must look like package.module:function"):
        load_object(spec, field="x.y")


def test_modules_that_cannot_be_imported(own_module: Any) -> None:
    own_module("own_broken", "1 / 0\n")
    own_module("own_needy", "import surely_not_installed\n")
    before = list(sys.path)
    with pytest.raises(RecipeError, match="there is no module 'own_absent', neither installed nor in the current"):
        load_object("own_absent.part:f", field="model.name")
    with pytest.raises(RecipeError, match="importing 'own_broken' failed with ZeroDivisionError: division by zero"):
        load_object("own_broken:f", field="model.name")
    with pytest.raises(RecipeError, match="module 'own_needy' needs 'surely_not_installed', not installed"):
        load_object("own_needy:f", field="model.name")
    assert sys.path == before


def test_a_function_without_a_signature_is_left_to_its_call() -> None:
    check_options(type, {"anything": 1}, spec="type", field="model.options")
