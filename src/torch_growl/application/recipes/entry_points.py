"""Import of users' own code, which recipes name as ``package.module:function``; it happens nowhere else."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch_growl.errors import RecipeError

__all__ = ["check_options", "load_object"]


def load_object(spec: str, *, field: str) -> Callable[..., Any]:
    """Import the function (or class) that ``package.module:function`` names.

    During the import the current folder comes first on ``sys.path``; afterwards ``sys.path`` is as before. A module
    that is in ``sys.modules`` is not imported again.

    Args:
        spec: a dotted module, a colon, and the dotted name of a callable in it.
        field: the recipe's field, for messages (``"model.name"``).

    Raises:
        RecipeError: the form is wrong, the import raises any exception, the name does not exist, or it is not callable.
    """
    module_name, colon, path = spec.partition(":")
    parts = [*module_name.split("."), *path.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise RecipeError(f"{field} = {spec!r}: must look like package.module:function")
    with _current_folder_importable():
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or module_name
            if module_name == missing or module_name.startswith(f"{missing}."):
                raise RecipeError(
                    f"{field} = {spec!r}: there is no module {missing!r}, neither installed nor in the current folder"
                ) from error
            raise RecipeError(f"{field} = {spec!r}: module {module_name!r} needs {missing!r}, not installed") from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise RecipeError(f"{field} = {spec!r}: importing {module_name!r} failed with {reason}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise RecipeError(f"{field} = {spec!r}: module {module_name!r} has no {path!r}")
        found = getattr(found, name)
    if not callable(found):
        raise RecipeError(f"{field} = {spec!r}: must be a function or a class, got {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def check_options(
    function: Callable[..., Any], options: Mapping[str, Any], *, spec: str, field: str, positional: tuple[Any, ...] = ()
) -> None:
    """Check against its signature that a function takes these keyword arguments; it is not called.

    Args:
        function: any callable.
        options: the arguments.
        spec: the function's name, for messages.
        field: the recipe's field of the options, for messages (``"model.options"``).
        positional: the positional arguments that precede them.

    Raises:
        RecipeError: an argument is unknown or missing.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without a signature: only the call can show it
        return
    try:
        signature.bind(*positional, **options)
    except TypeError as error:
        raise RecipeError(f"{field}: {spec!r} takes {signature}, but {error}") from error


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)
