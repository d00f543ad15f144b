"""Commands before a run: ``doctor init recipes``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from torch_growl.application.command.shared_options import DataOption, JsonOption, QuietOption, recipe_names
from torch_growl.application.command.terminal import (
    console,
    recipe_table,
    show_diagnosis,
    show_json,
    show_line,
)
from torch_growl.errors import InvalidValueError, RecipeError
from torch_growl.files import write_text

__all__ = ["doctor", "init", "recipes"]


def doctor(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A recipe, the folder of a run, or package.module:function.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="SHAPE",
            help="For a function: the shape of an input, as 1,3,32,32 or 1,16:int64; one for each input.",
        ),
    ] = None,
    data: DataOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Also zero half of the rows, compact, and compare outputs and size.")
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Time the dense and the smallest network.")
    ] = True,
    strength: Annotated[
        float | None,
        typer.Option("--strength", metavar="S", help="Show what this strength does; needs --lr and --steps."),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option("--lr", metavar="LR", help="The learning rate: SGD's, divided by 1 − momentum if it has one."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="The optimizer steps of the whole training.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show before any training which layers can be made smaller, what can be reached, and what stands in the way."""
    from torch_growl.application.authoring import network_and_example
    from torch_growl.networks.diagnosis import doctor as diagnose

    if len({value is None for value in (strength, lr, steps)}) > 1:
        raise InvalidValueError("--strength, --lr and --steps go together: all or none of them")
    network, example, layers, side = network_and_example(model, inputs or [], data)
    found = diagnose(
        network, example, layers=layers, side=side, latency=latency, check=check,
        strength=strength, optimizer=lr, steps=steps,
    )  # fmt: skip
    show_diagnosis(found)
    show_json(asdict(found))


def init(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="package.module:function that builds the network, or a built-in name."),
    ],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="DATA",
            help="package.module:function that returns its training, validation and test data, or a built-in name.",
        ),
    ],
    task: Annotated[
        str,
        typer.Option(metavar="NAME", help="The task, as in a recipe: classification, regression, and so on."),
    ] = "classification",
    trained: Annotated[
        bool | None,
        typer.Option(
            "--trained/--untrained",
            help="Whether the network comes with trained weights.  \\[default: seen from a classifier's accuracy]",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="The folder of the data, if they need one.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The recipe file.  \\[default: PACKAGE.yaml]", show_default=False),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a recipe, with comments, for a network of your own after a look over it; nothing is trained.

    Example: growl init mypkg.net:build --data mypkg.data:load
    """
    from torch_growl.application.authoring import propose

    if out is not None and out.exists():
        raise RecipeError(f"{out} exists already; give another --out")
    found = propose(model, data, task=task, trained=trained, data_dir=data_dir)
    file = out or Path(f"{found.name}.yaml")
    if file.exists():
        raise RecipeError(f"{file} exists already; give another --out")
    write_text(file, found.text)
    show_diagnosis(found.diagnosis)
    folder = "" if data_dir is None else f" --data {data_dir}"
    show_line(f"\nrecipe: {file}  (each field is explained there)\nnext:   growl run {file}{folder}")
    show_json({"file": str(file), "trained": found.trained, "diagnosis": asdict(found.diagnosis)})


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Print this recipe, or that of a YAML file, with each field explained.",
            autocompletion=recipe_names,
        ),
    ] = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="With NAME: also print the fields that have their defaults.")
    ] = False,
    fields: Annotated[bool, typer.Option("--fields", help="Print the reference of all fields, as Markdown.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the built-in recipes, or explain one.

    Example: growl recipes mnist-best
    """
    from torch_growl.application.recipes import builtin_recipes, load_recipe

    if fields or name is not None:
        from torch_growl.application.authoring import explained_recipe, field_reference

    if fields:
        if name is not None or defaults:
            raise InvalidValueError("--fields prints the fields of all recipes; leave NAME and --defaults out")
        show_line(field_reference().rstrip("\n"))
        show_json({"fields": field_reference()})
    elif name is not None:
        recipe = load_recipe(name)
        show_line(explained_recipe(recipe, defaults=defaults).rstrip("\n"))
        show_json(recipe.model_dump(exclude_unset=not defaults))
    elif defaults:
        raise InvalidValueError("--defaults needs the NAME of a recipe")
    else:
        found = builtin_recipes()
        console.print(recipe_table(found))
        show_json(
            [{"name": each, "data": one.data.name, "description": one.description} for each, one in found.items()]
        )
