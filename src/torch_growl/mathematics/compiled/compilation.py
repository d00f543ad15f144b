"""Compilation of the numeric kernels by numba: the one place that knows its options and its cache.

numba keeps a compiled function on disk until the function's *own* file changes. A kernel also contains what it calls
from other files, so the key of the cache is extended by the code of the whole ring: a kernel that changed anywhere is
compiled again, with all that call it. Comments and docstrings are no part of that key.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["code_stamp", "jit", "jit_summing"]

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile a function on its first call; it runs without the GIL and is cached on disk if a folder can be written.

    Arithmetic is IEEE's, in the order written: no fast-math, so that equal rows stay bit-equal.
    """
    return _compiled(function, {})


def jit_summing(function: F) -> F:
    """Compile as :func:`jit`, but let sums be reordered into vector instructions, the same way for equal lengths."""
    return _compiled(function, {"fastmath": {"reassoc", "contract"}})


def _compiled(function: F, options: dict[str, Any]) -> F:
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:  # numba: "no locator available": nowhere to write
        return cast(F, njit(**options)(function))
    file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, code_stamp(_RING))
    return cast(F, compiled)


_RING = Path(__file__).parents[1]


@cache
def code_stamp(folder: Path) -> str:
    """Hash the code of all modules below a folder, without comments, docstrings and line numbers."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                del node.body[0]
        found.update(f"{path.relative_to(folder)}: {ast.dump(tree)}".encode())
    return found.hexdigest()
