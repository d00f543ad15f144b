"""Recipes: their fields, loading them from YAML, the table of stages, and the penalty and tying that they describe."""

from torch_growl.application.recipes.building import build_penalty, find_step, recipe_layers, row_side
from torch_growl.application.recipes.entry_points import check_options, load_object
from torch_growl.application.recipes.loading import (
    builtin_names,
    builtin_recipes,
    load_recipe,
    parse_overrides,
    recipe_of,
)
from torch_growl.application.recipes.schema import Phase, Recipe
from torch_growl.application.recipes.stage_table import (
    ACCURACIES,
    STAGE_NAMES,
    files_from,
    title_of,
    training_seed,
)
from torch_growl.application.recipes.yaml_1_2 import as_yaml, read_mapping

__all__ = [
    "ACCURACIES",
    "STAGE_NAMES",
    "Phase",
    "Recipe",
    "as_yaml",
    "build_penalty",
    "builtin_names",
    "builtin_recipes",
    "check_options",
    "files_from",
    "find_step",
    "load_object",
    "load_recipe",
    "parse_overrides",
    "read_mapping",
    "recipe_layers",
    "recipe_of",
    "row_side",
    "title_of",
    "training_seed",
]
