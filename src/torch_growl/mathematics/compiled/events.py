"""Notice of numba's compilations, which take seconds, so that a progress display can name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["compilations"]


@contextmanager
def compilations(notify: Callable[[bool], object]) -> Iterator[None]:
    """While the block runs, call ``notify(True)`` when kernels begin to be compiled and ``notify(False)`` afterwards.

    Kernels that numba loads from its cache give no call. A kernel compiled within another's compilation gives none of
    its own.
    """
    from numba.core import event

    class Listener(event.Listener):
        depth = 0

        def on_start(self, found: Any) -> None:
            self.depth += 1
            if self.depth == 1:
                notify(True)

        def on_end(self, found: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                notify(False)

    with event.install_listener("numba:compile", Listener()):
        yield
