"""How the numeric kernels are compiled: the one place that knows numba's options."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["jit", "jit_summing"]

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile on first call, without the GIL, kept on disk between processes where some cache folder can be written.

    Arithmetic is IEEE's, in the order written: no fast-math, so that equal rows stay bit-equal.
    """
    return _compiled(function, {})


def jit_summing(function: F) -> F:
    """The same, but sums may be taken in another order, the same for all of one length: for vector instructions."""
    return _compiled(function, {"fastmath": {"reassoc", "contract"}})


def _compiled(function: F, options: dict[str, Any]) -> F:
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:  # numba: "no locator available": nowhere to write
        return cast(F, njit(**options)(function))
    file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, _sources())
    return cast(F, compiled)


@cache
def _sources() -> str:
    """All kernels' text as one number.

    numba keeps a compiled function until *its* file changes, and would go on using what another file held when it was
    compiled in.
    """
    texts = b"".join(path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py")))
    return hashlib.sha256(texts).hexdigest()
