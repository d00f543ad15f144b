"""A recipe as YAML in which a comment explains every field; it loads as the recipe does."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from torch_growl.application.authoring.fields import described_fields
from torch_growl.application.recipes import Recipe, as_yaml

__all__ = ["explained", "explained_recipe"]

_WIDTH = 100
_NOT_ALLOWED = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]"


def explained_recipe(recipe: Recipe, *, defaults: bool = False) -> str:
    """Write a recipe with a comment on every field.

    Args:
        recipe: the recipe; fields that it takes from one that it extends are written out.
        defaults: also write the fields that have their defaults because the recipe does not give them.
    """
    fields = recipe.model_dump() if defaults else recipe.model_dump(exclude_unset=True)
    return explained(fields)


def explained(
    fields: Mapping[str, Any], notes: Mapping[str, Sequence[str]] | None = None, head: Sequence[str] = ()
) -> str:
    """Write fields of a recipe as YAML with comments.

    The comment on a field is its description in the schema, at the first place where the field of this part occurs: the
    trainings have the same fields.

    Args:
        fields: by name; parts of a recipe are mappings in it.
        notes: further lines of comment, by dotted field.
        head: lines of comment at the top.
    """
    lines = [line for text in head for line in _comment(text, 0)]
    _write(lines, fields, Recipe, "", 0, notes or {}, set())
    return "\n".join(lines) + "\n"


def _write(
    lines: list[str],
    fields: Mapping[str, Any],
    model: type[BaseModel],
    path: str,
    depth: int,
    notes: Mapping[str, Sequence[str]],
    told: set[str],
) -> None:
    indent = "  " * depth
    for field in described_fields(model):
        if field.name not in fields:
            continue
        value, where = fields[field.name], f"{path}{field.name}"
        if field.meaning not in told or where in notes:
            if not depth and lines:
                lines.append("")
            for text in (*([] if field.meaning in told else [field.meaning]), *notes.get(where, ())):
                lines += _comment(text, depth)
        told.add(field.meaning)
        if field.part is not None and not field.keyed and isinstance(value, Mapping) and value:
            lines.append(f"{indent}{field.name}:")
            _write(lines, value, field.part, f"{where}.", depth + 1, notes, told)
        else:
            lines.append(f"{indent}{field.name}: {as_yaml(value)}")


def _comment(text: str, depth: int) -> list[str]:
    """Lines of a comment; of no text, an empty one. White space is a space; what YAML does not allow is escaped."""
    start = "  " * depth + "# "
    text = " ".join(re.split(r"\s", text))
    text = re.sub(_NOT_ALLOWED, lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=start, break_on_hyphens=False, break_long_words=False
    ) or [start.rstrip()]
