"""The imports of a Python file, in every form: by statement, relative, deferred, by ``import_module("name")``.

``unreadable`` finds the rest: computed names, and other ways to run code.
"""

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
    for node, at_once in _statements(path.read_text("utf-8")):
        names: list[tuple[str, str | None]] = []
        if isinstance(node, ast.Import):
            names = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [(start, alias.name) for alias in node.names]
        elif written := _written_out(node):
            dots = len(written) - len(written.lstrip("."))
            names = [(".".join([*package[: len(package) - dots + 1], written[dots:]]) if dots else written, None)]
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
    """The imports of a file, statements and calls, and whether each runs when the file is imported."""
    found: list[tuple[Any, bool]] = []

    def walk(node: ast.AST, at_once: bool) -> None:
        later: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            later = [*node.body]  # decorators and defaults run at once
        elif isinstance(node, ast.Lambda):
            later = [node.body]
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            later = [*node.body]  # not its else
        for child in ast.iter_child_nodes(node):
            now = at_once and child not in later
            if isinstance(child, ast.Import | ast.ImportFrom) or _written_out(child):
                found.append((child, now))
            walk(child, now)

    walk(_parsed(source), True)
    return found


IMPORTERS = ("import_module", "__import__", "find_spec")  # with a module's name written out they are read as imports
OTHER_WAYS = {
    *("exec", "eval", "builtins", "__builtins__", "__loader__", "__spec__", "sys.modules"),
    *("pkgutil", "runpy", "imp", "zipimport", "importlib.machinery", "importlib.reload", "importlib.abc"),
    *("spec_from_file_location", "spec_from_loader", "module_from_spec", "exec_module", "load_module"),
}


@lru_cache(maxsize=1024)
def unreadable(source: str) -> list[tuple[int, str, bool]]:
    """Find what may import a module that ``imports`` does not see.

    Returns:
        line, what stands there, and whether it is an importer with a computed name (rather than another way).
    """
    tree = _parsed(source)
    read = {id(node.func) for node in ast.walk(tree) if _written_out(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            of = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                if alias.name in (*IMPORTERS, "sys") and alias.asname:
                    found.append((node.lineno, f"gives {alias.name} another name", False))
                found += [(node.lineno, f"uses {way}", False) for way in _ways(f"{of}{alias.name}")]
        elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in read:
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in IMPORTERS:
                found.append((node.lineno, f"computes the name that {name} imports", True))
            elif not (isinstance(node, ast.Attribute) and name in ("exec", "eval")):  # network.eval()
                found += [(node.lineno, f"uses {way}", False) for way in _ways(ast.unparse(node))]
    return found


def _ways(dotted: str) -> set[str]:
    """The other ways that a dotted name is: as a whole, its first part, or its last."""
    return {dotted, dotted.split(".")[0], dotted.split(".")[-1]} & OTHER_WAYS


def _written_out(call: Any) -> str | None:
    """The module that an importer is called with, if it is a plain string."""
    if not isinstance(call, ast.Call):
        return None
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in IMPORTERS:
        return None
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "name")]
    first = given[0] if given else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


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


@lru_cache(maxsize=1024)
def attributes(source: str) -> list[tuple[int, str]]:
    """Line and text of every attribute that is read or set: ``torch.nn``, ``weight.shape``."""
    return [(node.lineno, ast.unparse(node)) for node in ast.walk(_parsed(source)) if isinstance(node, ast.Attribute)]


def bound_by_imports(path: Path) -> set[str]:
    """Names that the import statements of a module bind, under ``as`` too."""
    statements = [
        node for node in _parsed(path.read_text("utf-8")).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return {alias.asname or alias.name for node in statements for alias in node.names}
