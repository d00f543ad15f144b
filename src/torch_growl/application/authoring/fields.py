"""The fields of recipes, read from the schema: meaning, type, range and default of each, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from torch_growl.application.recipes import Recipe, as_yaml

__all__ = ["Described", "described_fields"]

_NAMES: dict[Any, str] = {int: "integer", float: "number", bool: "true or false", str: "text", Any: "any value"}
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}  # attributes of pydantic's bounds


@dataclass(frozen=True)
class Described:
    """One field of a recipe.

    Attributes:
        name: its name.
        meaning: a sentence or two.
        values: type and range, in words.
        default: as YAML; empty if the field must be given.
        part: the model of its own fields; None if it has none.
        keyed: whether it maps names to such models.
    """

    name: str
    meaning: str
    values: str
    default: str
    part: type[BaseModel] | None
    keyed: bool


def described_fields(model: type[BaseModel] = Recipe) -> Iterator[Described]:
    """Describe every field of a part of a recipe, in the order of the schema."""
    for name, field in model.model_fields.items():
        part = _part(field.annotation)
        default = ""
        if not field.is_required():
            default = as_yaml(_plain(field.get_default(call_default_factory=True)))
        yield Described(name, field.description or "", _values(field), default, part, _is_keyed(field.annotation))


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def _part(annotation: Any) -> type[BaseModel] | None:
    """The model in ``Model``, ``Model | None`` or ``dict[str, Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_part, get_args(annotation)) if found is not None), None)


def _is_keyed(annotation: Any) -> bool:
    return get_origin(annotation) is dict


def _values(field: FieldInfo) -> str:
    """The type and range of a field in words."""
    kinds = _without_null(field.annotation)
    text = " ".join([" or ".join(map(_type, kinds)), *_range(field.metadata)])
    return f"{text}, or null" if type(None) in get_args(field.annotation) else text


def _without_null(annotation: Any) -> list[Any]:
    """The members of a union but None; the annotation alone if it is no union."""
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return [each for each in get_args(annotation) if each is not type(None)]
    return [annotation]


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"mapping of names to {_type(inner[1])}"
    if hasattr(annotation, "__metadata__"):  # Annotated
        return " ".join([_type(annotation.__origin__), *_range(annotation.__metadata__)])
    if isinstance(annotation, UnionType) or origin is Union:
        return " or ".join(map(_type, inner))
    return _NAMES.get(annotation, "fields")


def _range(metadata: Iterable[Any]) -> list[str]:
    bounds = [bound for each in metadata for bound in (each.metadata if isinstance(each, FieldInfo) else [each])]
    found = [
        f"{sign} {value}"
        for bound in bounds
        for name, sign in _SIGNS.items()
        if (value := getattr(bound, name, None)) is not None
    ]
    if any(getattr(bound, "min_length", None) for bound in bounds):
        found.append("not empty")
    return [", ".join(found)] if found else []
