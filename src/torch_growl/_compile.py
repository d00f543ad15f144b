"""How the numeric kernels are compiled: the one place that knows numba's options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["jit"]

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile on first call, without the GIL, kept on disk between processes where some cache folder can be written.

    Arithmetic is IEEE's, in the order written: no fast-math, so that equal rows stay bit-equal.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(F, njit(cache=True, **options)(function))
    except RuntimeError:  # numba: "no locator available": nowhere to write
        return cast(F, njit(**options)(function))
