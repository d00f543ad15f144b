"""The page on the fields of recipes, docs/recipe-fields.md, made from the schema."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pydantic import BaseModel

from torch_growl.application.authoring.fields import Described, described_fields
from torch_growl.application.recipes import Recipe

__all__ = ["field_reference"]

_HEAD = """\
# Fields of a recipe

Every field of a recipe file, with its type, range and default. `growl recipes --fields` writes this page from the
schema, so it holds for the version that is installed; `growl recipes NAME` prints a recipe with its fields explained,
and `growl init` writes one for a network of your own. A field without a default must be given. An unknown field is an
error.

A file may also contain `extends: NAME`, a built-in recipe or a file in the same folder: then it has only the fields
that differ ([runs](runs.md#recipe-fields)). `growl run RECIPE --set train.epochs=3` changes a field of a part by its
dotted name.
"""


def field_reference() -> str:
    """Write the page as Markdown."""
    lines = [_HEAD, "## A recipe", "", *_table(Recipe)]
    first: dict[type[BaseModel], str] = {}
    for title, part in _parts(Recipe):
        if part not in first:
            lines += ["", f"## {title}", "", *_section(part, first)]
            first[part] = title
    return "\n".join(lines) + "\n"


def _parts(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every part, after a title with the fields that have it, in the order of the schema."""
    names: dict[type[BaseModel], list[str]] = {}
    for field in described_fields(model):
        if field.part is not None:
            names.setdefault(field.part, []).append(f"{path}{field.name}{'.NAME' if field.keyed else ''}")
    for part, found in names.items():
        yield " and ".join(f"`{each}`" for each in found), part
        yield from _parts(part, f"{found[0]}.")


def _section(part: type[BaseModel], first: dict[type[BaseModel], str]) -> list[str]:
    """The sentence on a part and its table, without the fields of a part that it extends."""
    says = (part.__doc__ or "").strip().splitlines()[0]
    base = next((each for each in part.__mro__[1:] if each in first), None)
    if base is None:
        return [says, "", *_table(part)]
    return [f"{says} The fields of {first[base]}, and:", "", *_table(part, set(base.model_fields))]


def _table(model: type[BaseModel], without: Collection[str] = ()) -> list[str]:
    rows = ["| field | values | default | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{field.name}` | {_cell(_values(field))} | {_default(field)} | {_cell(field.meaning)} |"
        for field in described_fields(model)
        if field.name not in without
    ]
    return rows


def _values(field: Described) -> str:
    return field.values.replace("fields", "fields, below") if field.part is not None else field.values


def _default(field: Described) -> str:
    if not field.default:
        return "–"
    if field.part is not None and field.default.startswith("{") and field.default != "{}":
        return "all defaults" if field.name != "sequence" else f"`{field.default}`"
    return f"`{field.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
