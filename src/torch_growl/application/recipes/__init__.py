"""Recipes: the schema of their fields, reading them from YAML, and the objects that they name."""

from torch_growl.application.recipes.entry_points import check_options, load_object
from torch_growl.application.recipes.loading import builtin_recipes, load_recipe, parse_overrides
from torch_growl.application.recipes.schema import Phase, Recipe

__all__ = ["Phase", "Recipe", "builtin_recipes", "check_options", "load_object", "load_recipe", "parse_overrides"]
