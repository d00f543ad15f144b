"""Loading of a recipe from its name or file, the recipe that it extends, and ``key=value`` changes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from torch_growl.application.recipes.schema import Recipe
from torch_growl.application.recipes.tying_fields import IN_STEPS
from torch_growl.application.recipes.yaml_1_2 import read_mapping, read_value
from torch_growl.arguments import did_you_mean
from torch_growl.checksums import check_text
from torch_growl.errors import FileFormatError, RecipeError

__all__ = ["builtin_names", "builtin_recipes", "load_recipe", "parse_overrides", "recipe_of"]

_SUFFIXES = (".yaml", ".yml")
_OF_A_STRENGTH = ("strength", "balance", "every", "warmup_epochs")  # fields of growl that a target replaces
_LARGEST = 1_000_000  # bytes of a recipe file


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe, merge it with the recipe it extends, apply changes, and check every field.

    A file may contain ``extends: other``, where ``other`` is a built-in name or a file in the same folder. Its fields
    then override the other's. Mappings are merged field by field, except that a mapping with a ``name`` (``data``,
    ``model``, ``sequence``) replaces the other's as a whole. A target replaces the other's strength, and a strength the
    other's target; another method of tying replaces the steps of Ward's, with the training between them.

    Args:
        name_or_path: a built-in recipe's name, or a YAML file.
        overrides: changes by dotted field, as :func:`parse_overrides` returns them: ``{"train.epochs": 3}``. A mapping
            replaces the field as a whole.

    Raises:
        RecipeError: there is no such recipe, its file is not valid, or a field is unknown or has an invalid value; the
            message is one line with the field, the value found and the values allowed.
    """
    fields, where = _resolved(str(name_or_path), None, ())
    changes: dict[str, Any] = {}
    for key, value in (overrides or {}).items():
        _set(changes, key, value)
    _make_room(fields, changes)
    for key, value in (overrides or {}).items():
        _set(fields, key, value)
    return recipe_of(fields, where)


def recipe_of(fields: dict[str, Any], where: str) -> Recipe:
    """Make a recipe of its fields.

    Args:
        fields: by name; not modified.
        where: the recipe's file or name, for messages.

    Raises:
        RecipeError: a field is unknown, missing or has an invalid value.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_in_words(error, fields)}") from error


def builtin_recipes() -> dict[str, Recipe]:
    """Load all built-in recipes, sorted by name."""
    return {name: load_recipe(name) for name in builtin_names()}


def parse_overrides(settings: Iterable[str], option: str = "") -> dict[str, Any]:
    """Read ``key=value`` settings: a dotted field and a YAML value.

    Args:
        settings: as they are given.
        option: the command's option that they are given by, for messages, if its settings are of another form.

    Raises:
        RecipeError: a setting has another form, a value is not valid YAML, or a field is given twice.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            if option:
                raise RecipeError(f"{option} {setting!r} must look like measure=share, as in {option} macs=0.5")
            raise RecipeError(f"setting {setting!r} must look like key=value, as in train.epochs=3")
        if key in found:
            raise RecipeError(f"setting {key!r} is given twice")
        found[key] = read_value(value, f"setting {key!r}")
    return found


# ── finding a recipe and those it extends ───────────────────────────────────────────────────────────────────────────


def builtin_names() -> list[str]:
    """Return the names of the built-in recipes, sorted."""
    folder = resources.files(__package__) / "builtin"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def _resolved(name: str, beside: Path | None, chain: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Fields of a recipe merged with those it extends, and its name for messages."""
    where, text, folder, stem = _read(name, beside)
    if where in chain:
        raise RecipeError(f"{where} extends itself: {' → '.join((*chain, where))}")
    fields = read_mapping(text, where)
    other = fields.pop("extends", None)
    fields.setdefault("name", stem)
    if other is None:
        return fields, where
    if not isinstance(other, str):
        raise RecipeError(f"{where}: extends must be a recipe's name or file, found {other!r}")
    base, _ = _resolved(other, folder, (*chain, where))
    _make_room(base, fields)
    return _merged(base, fields), where


def _make_room(fields: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Remove what the changes replace: a strength by a target or a target by a strength, the steps of another tying.

    A strength is removed with what belongs to it. Both in one recipe are an error, found later.
    """
    tying, other = fields.get("tying"), changes.get("tying")
    method = other.get("method") if isinstance(other, dict) else None
    if isinstance(tying, dict) and method is not None and method != tying.get("method"):
        for name in ("groups", "left", "drop"):
            tying.pop(name, None)
        if method not in IN_STEPS:
            fields.pop("merge", None)
    growl, changed = fields.get("growl"), changes.get("growl", {})
    if changes.get("target") is not None:
        fields.pop("target", None)  # of another measure, perhaps
        if isinstance(growl, dict):
            for name in _OF_A_STRENGTH:
                growl.pop(name, None)
    elif changed is None or (isinstance(changed, dict) and changed.get("strength") is not None):
        fields.pop("target", None)


def _read(name: str, beside: Path | None) -> tuple[str, str, Path | None, str]:
    """A recipe's name for messages, its text, its folder (None if built-in), and the default of its field ``name``."""
    if name in builtin_names():
        file = resources.files(__package__) / "builtin" / f"{name}.yaml"
        return f"recipe {name!r}", file.read_text(encoding="utf-8"), None, name
    path = (beside or Path()) / name
    if not _is_file(path):
        if path.suffix in _SUFFIXES or len(Path(name).parts) > 1:
            raise RecipeError(f"there is no recipe file {path}")
        hint = did_you_mean(name, builtin_names(), otherwise="there are {known}, or a YAML file")
        raise RecipeError(f"there is no recipe {name!r}; {hint}")
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise RecipeError(f"recipe file {path} is too long: a recipe has at most {_LARGEST:,} bytes, not {size:,}")
        data = path.read_bytes()
        check_text(data, str(path))
        return str(path), data.decode("utf-8"), path.parent, path.stem
    except FileFormatError as error:
        raise RecipeError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe file {path} cannot be read: {error}") from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def _merged(base: Any, changes: Any, top: bool = True) -> Any:
    if not isinstance(base, dict) or not isinstance(changes, dict) or ("name" in changes and not top):
        return copy.deepcopy(changes)
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        merged[key] = _merged(base.get(key), value, top=False)
    return merged


def _set(fields: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place = fields
    for i, part in enumerate(parents):
        inner = place.get(part)
        if inner is None:
            inner = {}
        elif not isinstance(inner, dict):
            raise RecipeError(f"setting {key!r}: {'.'.join(parents[: i + 1])} = {inner!r} has no fields")
        place[part] = inner
        place = inner
    place[last] = copy.deepcopy(value)


# ── messages of errors ──────────────────────────────────────────────────────────────────────────────────────────────


def _in_words(error: ValidationError, fields: dict[str, Any]) -> str:
    problems = error.errors(include_url=False)
    first = problems[0]
    path = ".".join(map(str, first["loc"]))
    found = repr(first["input"])
    found = found if len(found) <= 60 else f"{found[:57]}..."
    match first["type"]:
        case "extra_forbidden":
            words = f"unknown field {path}; {_hint(first['loc'])}"
        case "missing":
            words = f"field {path} is missing"
        case "value_error":
            words = f"{path}: {first['ctx']['error']}" if path else str(first["ctx"]["error"])
            words += "" if not path or ", got " in words else f", found {found}"
        case _:
            words = f"{path}: {first['msg'].replace('Input should', 'must')}, found {found}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(words.split()) + more


def _hint(loc: tuple[int | str, ...]) -> str:
    """The end of a message about an unknown field."""
    model: Any = Recipe
    for part in loc[:-1]:
        if _is_model(model) and part in model.model_fields:  # otherwise a layer's name in a dict of models
            model = _model_of(model.model_fields[str(part)].annotation)
    return did_you_mean(str(loc[-1]), model.model_fields if _is_model(model) else [])


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _model_of(annotation: Any) -> Any:
    """The model in ``Model``, ``Model | None`` or ``dict[str, Model]``."""
    if _is_model(annotation):
        return annotation
    return next((inner for inner in map(_model_of, get_args(annotation)) if inner is not None), None)
