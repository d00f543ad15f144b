"""Pointers from addresses, for compiled code: passing a tensor's address costs a tenth of wrapping it in an array.

The caller must make sure that the address is that of live, dense CPU memory of the named type until the call returns.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

__all__ = ["float32_at", "float64_at"]


def _pointer_to(element: Any) -> Any:
    """Make a function, for compiled code only, that turns an address into a pointer."""

    @intrinsic
    def pointer(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        result = types.CPointer(element)  # type: ignore[no-untyped-call]
        return result(types.int64), generate

    return pointer


float32_at, float64_at = _pointer_to(types.float32), _pointer_to(types.float64)
