"""Building of the penalty and the tying that a recipe describes, on a given network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from torch_growl.application.recipes.schema import Recipe
from torch_growl.mathematics.owl import sequence_from_dict
from torch_growl.networks.layers import Side, choose_layers
from torch_growl.networks.penalty import GrOWL
from torch_growl.networks.shrinking import shrink_tying
from torch_growl.networks.targets import Target
from torch_growl.networks.tying import Tying, find_tying, with_equal_rows

__all__ = ["build_penalty", "find_step", "recipe_layers", "row_side"]

_OF_PRUNING = 0.5  # of an accuracy drop, where rows are tied afterwards


def build_penalty(
    model: nn.Module, recipe: Recipe, example_inputs: Any = None, judge: dict[str, Any] | None = None
) -> GrOWL | None:
    """Build the recipe's penalty on a network.

    Args:
        model: the network; not modified.
        recipe: any.
        example_inputs: with a target or channels as rows: inputs to run the network on, on its device.
        judge: with an accuracy drop: ``validate`` and what goes with it in :class:`torch_growl.Target`; where the
            rows go in one step, the batches of ``compensate``.

    Returns:
        The penalty, not attached yet; None when the recipe has none, or one of strength 0.

    Raises:
        GrowlError: a layer, an override or the sequence does not fit the network, or the target cannot be met.
    """
    if recipe.target is None:
        of_channels = recipe.growl is not None and recipe.growl.side == "channel"
        return _penalty(model, recipe, **({"example_inputs": example_inputs} if of_channels else {}))
    given = {**recipe.target, "compensate": False, **(judge or {})}
    if recipe.accuracy_drop is not None and recipe.tying.method != "none":
        given["accuracy_drop"] *= _OF_PRUNING
    if "file_bytes" in given:
        given["dtype"] = recipe.compact.dtype
    return _penalty(model, recipe, target=Target(**given), example_inputs=example_inputs)


def _penalty(model: nn.Module, recipe: Recipe, **how: Any) -> GrOWL | None:
    settings = recipe.growl
    if settings is None or settings.strength == 0:
        return None
    overrides: dict[str | type[nn.Module], dict[str, Any]] = {}
    for key, override in settings.overrides.items():
        given = override.model_dump(exclude_none=True)
        if "sequence" in given:
            given["sequence"] = sequence_from_dict(override.model_dump()["sequence"])
        overrides[key] = given
    how.setdefault("layers", settings.layers)
    if settings.strength is not None:
        how["strength"] = settings.strength
    return GrOWL(
        model,
        sequence=sequence_from_dict(settings.sequence.model_dump(exclude_none=True)),
        overrides=overrides,
        form=settings.form,
        side=settings.side,
        min_rows=settings.min_rows,
        balance=settings.balance,
        **how,
    )


def row_side(recipe: Recipe) -> Side:
    """The side of the rows that the recipe ties: with channels as rows, inputs."""
    return "output" if recipe.growl and recipe.growl.side == "output" else "input"


def recipe_layers(model: nn.Module, recipe: Recipe) -> tuple[str, ...]:
    """Names of the layers that the recipe ties: the penalised ones, or those that ``growl.layers`` matches.

    Raises:
        GrowlError: a layer, an override or the sequence does not fit the network.
    """
    if recipe.growl is not None and recipe.growl.side == "channel":
        wanted = recipe.growl.layers
        return tuple(info.name for info in choose_layers(model, wanted, last=recipe.target is not None))
    how: dict[str, Any] = {}  # the target itself is left out, since counting takes seconds
    if recipe.target is not None and recipe.growl is not None and recipe.growl.layers is None:
        how["layers"] = [info.name for info in choose_layers(model, None, row_side(recipe), last=True)]
    penalty = _penalty(model, recipe, **how)
    if penalty is not None:
        return penalty.layers
    wanted = recipe.growl.layers if recipe.growl else None
    return tuple(info.name for info in choose_layers(model, wanted))


def find_step(
    model: nn.Module, layers: tuple[str, ...], recipe: Recipe, step: int, inputs: Sequence[Any] = ()
) -> Tying:
    """Find the tying of one of the recipe's steps on a trained network.

    Args:
        model: the network; not modified.
        layers: names of the layers to tie.
        recipe: its field ``tying`` has the settings.
        step: index into the steps of ``tying.groups`` or ``tying.left``; −1 is the last.
        inputs: with the methods shrink and least-squares: batches of inputs, on the network's device.

    Returns:
        The tying; rows that a target has tied stay so in layers that are otherwise left untied.
    """
    settings = recipe.tying
    if settings.method == "shrink":
        return shrink_tying(model, inputs, settings.targets[step], layers)
    found = find_tying(
        model,
        layers,
        preference=settings.preference,
        overrides=settings.overrides,
        max_ratio=settings.max_ratio,
        method=settings.method,
        groups={name: steps[step] for name, steps in settings.groups.items()} or None,
        inputs=list(inputs) if settings.by_inputs else None,
        side=row_side(recipe),
    )
    return with_equal_rows(found, model) if (recipe.target or {}).get("ties") else found
