"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torch_growl.application.command.terminal import as_json, be_quiet

__all__ = [
    "AgainOption",
    "DataOption",
    "JsonOption",
    "QuietOption",
    "RecipeArgument",
    "RunArgument",
    "SeedOption",
    "SetOption",
    "TargetOption",
    "recipe_names",
]

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run that `growl run` has made.")]


def recipe_names(incomplete: str) -> list[str]:
    """The built-in recipes, for the completion of the shell."""
    from torch_growl.application.recipes import builtin_names

    return [name for name in builtin_names() if name.startswith(incomplete)]


RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A built-in recipe's name (`growl recipes` lists them) or a YAML file.",
        autocompletion=recipe_names,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder with the official files of MNIST or CIFAR-10."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; may be given several times."),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", help="Seed of all random numbers.  \\[default: the recipe's]", show_default=False
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="MEASURE=VALUE",
        help="What is to be left, in place of the recipe's strength: macs=0.5, weights=20000 or bytes=0.1.",
    ),
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Do the stage again: delete what it and all later stages have written first.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", callback=be_quiet, help="Show nothing but warnings and errors.")]
JsonOption = Annotated[
    bool, typer.Option("--json", callback=as_json, help="Show one JSON object with the result in place of text.")
]
