"""The imports of a Python file, in every form: by statement, relative, deferred, and by ``import_module``."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = "torch_growl"


@dataclass(frozen=True)
class Import:
    """A module that is imported, or one name that is imported from it."""

    by: str  # the module that imports, without the package's name; "" is the package
    line: int
    module: str  # in full: "torch_growl.networks.layers", "numpy"
    name: str | None  # None: the module itself
    at_once: bool  # when the importing module is: not in a function, not for type checking alone

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module

    def __str__(self) -> str:
        return f"{self.by or PACKAGE}:{self.line} imports {self.full}"


def imports(path: Path, module: str, modules: set[str]) -> list[Import]:
    """Find the imports of one file.

    Args:
        path: the file.
        module: its dotted name in the package.
        modules: all modules of the package: ``from a import b`` is the module ``a.b`` if there is one.
    """
    found: list[Import] = []
    package = [PACKAGE, *(part for part in module.split(".") if part)]
    if path.name != "__init__.py":
        package.pop()
    source = path.read_text("utf-8")
    for node, at_once in _statements(source):
        names: list[tuple[str, str | None]] = []
        if isinstance(node, ast.Import):
            names = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [(start, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and (called := _called(node, package)):
            names = [(called, None)]
        for start, name in names:
            if name and f"{start}.{name}".removeprefix(f"{PACKAGE}.") in modules and start.startswith(PACKAGE):
                start, name = f"{start}.{name}", None
            found.append(Import(module, node.lineno, start, name, at_once))
    return found


@lru_cache(maxsize=1024)  # keyed by the text: copies of a file are parsed once
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


@lru_cache(maxsize=1024)
def _statements(source: str) -> list[tuple[Any, bool]]:
    found: list[tuple[Any, bool]] = []

    def walk(node: ast.AST, at_once: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom | ast.Call):
                found.append((child, at_once))
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            walk(child, at_once and not later and not typing)

    walk(_parsed(source), True)
    return found


def _called(call: ast.Call, package: list[str]) -> str | None:
    """The module that ``import_module`` or ``__import__`` imports, if it is written out, at least its beginning."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in ("import_module", "__import__") or not call.args:
        return None
    first = call.args[0]
    if isinstance(first, ast.JoinedStr) and first.values:
        first = first.values[0]
    if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
        return None
    dots = len(first.value) - len(first.value.lstrip("."))
    return ".".join([*package[: len(package) - dots + 1], first.value[dots:]]) if dots else first.value.rstrip(".")


def docstring(path: Path) -> str:
    return ast.get_docstring(_parsed(path.read_text("utf-8"))) or ""


def constant(path: Path, name: str) -> Any:
    """The value of a constant of the module, or an empty list."""
    for node in _parsed(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            return ast.literal_eval(node.value)
    return []


def more_than_a_door(path: Path) -> list[str]:
    """Statements of a module other than its docstring, its imports and ``__all__``."""
    found = []
    for node in _parsed(path.read_text("utf-8")).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        names = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if not (docstring or names or isinstance(node, ast.Import | ast.ImportFrom)):
            found.append(type(node).__name__)
    return found
