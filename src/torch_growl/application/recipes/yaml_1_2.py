"""YAML for recipes: the plain values of YAML 1.2, no duplicate keys, and no tags that create objects.

PyYAML alone reads YAML 1.1, in which ``1e-3`` is text, ``no`` is false and ``1:30`` is ninety.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from torch_growl.errors import RecipeError, first_line

__all__ = ["Dumper", "as_yaml", "read_mapping", "read_value"]

_MOST_VALUES, _DEEPEST = 100_000, 50
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
    """A loader of plain values: other tags, aliases to a value's own parents, and too many aliases are refused."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (pyyaml's own attributes)
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str", "seq", "map")
    }

    def get_single_node(self) -> Any:
        """Compose the document, and count its values as if each alias were written in full."""
        node = super().get_single_node()
        if node is not None:
            _count(node, {}, _DEEPEST)
        return node

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


def _count(node: yaml.Node, counted: dict[int, int], depth: int) -> int:
    """Count the values in a node; ``counted`` holds those of nodes before, and 0 of nodes around it."""
    if not depth:
        raise yaml.composer.ComposerError(None, None, f"more than {_DEEPEST} values in each other", node.start_mark)
    if isinstance(node.value, str) and not node.value.isascii():
        node.value.encode()  # a surrogate, which no file can hold, is an error
    if id(node) in counted:
        if not counted[id(node)]:
            raise yaml.composer.ComposerError(None, None, "a value contains itself", node.start_mark)
        return counted[id(node)]
    counted[id(node)] = 0
    inner = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
    total = 1 + sum(_count(part, counted, depth - 1) for part in inner if isinstance(part, yaml.Node))
    if total > _MOST_VALUES:
        raise yaml.composer.ComposerError(None, None, f"more than {_MOST_VALUES:,} values", node.start_mark)
    counted[id(node)] = total
    return total


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
    except Exception as error:  # a malformed tag or number can raise nearly anything
        raise RecipeError(f"{where}: cannot be read as YAML ({first_line(error)})") from error


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


def as_yaml(value: Any) -> str:
    """Write a value on one line: ``3``, ``null``, ``[1, 2]``, ``{name: lasso}``."""
    text: str = yaml.dump(
        value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=True
    )
    return text.removesuffix("...\n").strip()
