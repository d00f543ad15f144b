"""A pool of threads for compiled code that runs without the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["run_all"]

T = TypeVar("T")

_pool: ThreadPoolExecutor | None = None
_size = 0


def run_all(function: Callable[[T], object], shares: Sequence[T]) -> None:
    """Call the function once for every share, all at the same time; the first share runs in the calling thread.

    Raises:
        Exception: the first that the function raised, in the order of the shares; other shares may still run.
    """
    if len(shares) == 1:
        function(shares[0])
        return
    pool = _threads(len(shares) - 1)
    others = [pool.submit(function, share) for share in shares[1:]]
    function(shares[0])
    for other in others:
        other.result()


def _threads(number: int) -> ThreadPoolExecutor:
    global _pool, _size
    if _pool is None or _size < number:
        if _pool is not None:
            _pool.shutdown(wait=False)
        _pool, _size = ThreadPoolExecutor(number, thread_name_prefix="growl"), number
    return _pool


def _forget() -> None:
    """Drop the pool in a forked process, which has none of its parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
