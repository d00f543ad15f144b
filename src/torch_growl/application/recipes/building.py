"""Building of the penalty and the tying that a recipe describes, on a given network."""

from __future__ import annotations

from typing import Any

from torch import nn

from torch_growl.application.recipes.schema import Recipe
from torch_growl.mathematics.owl import sequence_from_dict
from torch_growl.networks.layers import Side, choose_layers
from torch_growl.networks.penalty import GrOWL
from torch_growl.networks.tying import Tying, find_tying

__all__ = ["build_penalty", "find_step", "recipe_layers", "row_side"]


def build_penalty(model: nn.Module, recipe: Recipe) -> GrOWL | None:
    """Build the recipe's penalty on a network.

    Args:
        model: the network; not modified.
        recipe: any.

    Returns:
        The penalty, not attached yet; None when the recipe has none, or one of strength 0.

    Raises:
        GrowlError: a layer, an override or the sequence does not fit the network.
    """
    settings = recipe.growl
    if settings is None or settings.strength == 0:
        return None
    overrides: dict[str | type[nn.Module], dict[str, Any]] = {}
    for key, override in settings.overrides.items():
        given = override.model_dump(exclude_none=True)
        if "sequence" in given:
            given["sequence"] = sequence_from_dict(override.model_dump()["sequence"])
        overrides[key] = given
    return GrOWL(
        model,
        settings.strength,
        sequence_from_dict(settings.sequence.model_dump(exclude_none=True)),
        layers=settings.layers,
        overrides=overrides,
        form=settings.form,
        side=settings.side,
        min_rows=settings.min_rows,
        balance=settings.balance,
    )


def row_side(recipe: Recipe) -> Side:
    """The side of the rows that the recipe penalises and ties."""
    return recipe.growl.side if recipe.growl else "input"


def recipe_layers(model: nn.Module, recipe: Recipe) -> tuple[str, ...]:
    """Names of the layers that the recipe ties: the penalised ones, or those that ``growl.layers`` matches.

    Raises:
        GrowlError: a layer, an override or the sequence does not fit the network.
    """
    penalty = build_penalty(model, recipe)
    if penalty is not None:
        return penalty.layers
    wanted = recipe.growl.layers if recipe.growl else None
    return tuple(info.name for info in choose_layers(model, wanted))


def find_step(model: nn.Module, layers: tuple[str, ...], recipe: Recipe, step: int) -> Tying:
    """Find the tying of one of the recipe's steps on a trained network.

    Args:
        model: the network; not modified.
        layers: names of the layers to tie.
        recipe: its field ``tying`` has the settings.
        step: index into the steps of ``tying.groups``; −1 is the last.
    """
    settings = recipe.tying
    return find_tying(
        model,
        layers,
        preference=settings.preference,
        overrides=settings.overrides,
        max_ratio=settings.max_ratio,
        method=settings.method,
        groups={name: steps[step] for name, steps in settings.groups.items()} or None,
        side=row_side(recipe),
    )
