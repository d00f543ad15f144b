"""The argument of ``growl doctor``: a recipe, a run folder, or a user's function with the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torch_growl.application.recipes import load_object
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.networks.layers import Side

__all__ = ["network_and_example", "parse_shape"]


def parse_shape(text: str) -> Tensor:
    """Make an example input: ``1,3,32,32`` (normal, float32) or ``1,16:int64`` (zeros of that type).

    Raises:
        InvalidValueError: the text has another form.
    """
    sizes, _, name = text.partition(":")
    dtype = getattr(torch, name or "float32", None)
    try:
        shape = [int(size) for size in sizes.split(",")]
    except ValueError:
        shape = [0]
    if min(shape) < 1 or not isinstance(dtype, torch.dtype):
        raise InvalidValueError(f"--input {text!r}: must look like 1,3,32,32 or 1,16:int64")
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(shape, generator=generator) if dtype.is_floating_point else torch.zeros(shape)
    return value.to(dtype)


def network_and_example(
    model: str, shapes: Sequence[str], data: Path | None
) -> tuple[nn.Module, Any, tuple[str, ...] | None, Side]:
    """Build the network with an example input, and the layers and side of the recipe.

    Raises:
        GrowlError: the network cannot be built, or ``--input`` is missing, or given with a recipe or run.
    """
    if ":" in model:
        if not shapes:
            raise InvalidValueError(f"{model!r} needs --input, for instance --input 1,3,32,32")
        examples = tuple(parse_shape(shape) for shape in shapes)
        try:
            network = load_object(model, field="MODEL")()
        except TypeError as error:
            raise InvalidTypeError(f"MODEL = {model!r}: calling it failed: {error}") from error
        if not isinstance(network, nn.Module):
            raise InvalidTypeError(f"MODEL = {model!r}: must return a torch.nn.Module, got {type(network).__name__}")
        return network, examples, None, "input"
    if shapes:
        raise InvalidValueError("--input is for package.module:function; a recipe or run has its own data")
    from torch_growl.application.recipes import load_recipe
    from torch_growl.application.runs import Run, RunFolder

    folder = RunFolder(Path(model))
    recipe = None if folder.recipe_file.is_file() else load_recipe(model, {})
    run = Run(folder, recipe, data_dir=data)
    return run.network(), run.example(), run.layers, run.side
