"""YAML for recipes: the plain values of YAML 1.2, no duplicate keys, and no tags that create objects.

PyYAML alone reads YAML 1.1, in which ``1e-3`` is text, ``no`` is false and ``1:30`` is ninety.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from torch_growl.errors import RecipeError

__all__ = ["Dumper", "read_mapping", "read_value"]

_PLAIN = [
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9][0-9]*)", [*"-+0123456789"]),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
]


class Loader(yaml.SafeLoader):
    """A loader of plain values."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (pyyaml's own attribute)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping with unique text keys."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} must be text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class Dumper(yaml.SafeDumper):
    """A dumper whose output has the same meaning in YAML 1.1 and 1.2: ``'no'`` is in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values in full, never as aliases."""
        return True


for _tag, _pattern, _first in _PLAIN:
    for _class in (Loader, Dumper):
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{where}{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{where}: cannot be read as YAML ({str(error).splitlines()[0]})") from error


def read_mapping(text: str, where: str) -> dict[str, Any]:
    """Read a YAML document that is a mapping.

    Args:
        text: the document.
        where: its file, for messages.

    Raises:
        RecipeError: the document is not valid YAML or not a mapping, or a key is not text or given twice; the message
            has the line.
    """
    found = _parse(text, where)
    if not isinstance(found, dict):
        raise RecipeError(f"{where}, line 1: must be a mapping of fields to values, found {type(found).__name__}")
    return found


def read_value(text: str, where: str) -> Any:
    """Read one value: ``3``, ``1e-3``, ``null``, ``[1, 2]``, ``{name: lasso}``.

    Args:
        text: the value.
        where: the setting it belongs to, for messages.

    Raises:
        RecipeError: it is not valid YAML.
    """
    return _parse(text, where)
