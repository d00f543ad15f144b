"""Recipes: a whole run in one YAML file, checked field by field."""

from torch_growl.application.recipes.loading import builtin_recipes, load_recipe, parse_overrides
from torch_growl.application.recipes.schema import Phase, Recipe

__all__ = ["Phase", "Recipe", "builtin_recipes", "load_recipe", "parse_overrides"]
