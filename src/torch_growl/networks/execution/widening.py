"""Running a network in a wider type without a whole copy in it: a module is converted only while it is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["widened"]


@contextmanager
def widened(network: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """While the block runs, give each module its own parameters and buffers in a wider type during its calls.

    Attention converts its sub-modules too, because it reads their weights itself. Code that reads the weights of a
    module that is not being called gets the type that they have, and may raise.

    Args:
        network: modified while the block runs; afterwards as before, but for buffers that a call has replaced.
        dtype: the wider type.
    """
    handles = []
    for module in network.modules():
        owners = list(module.modules()) if isinstance(module, nn.MultiheadAttention) else [module]
        held = _Held(owners, dtype)
        if held.any():
            handles.append(module.register_forward_pre_hook(held.widen, prepend=True))
            handles.append(module.register_forward_hook(held.restore, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Held:
    """The tensors of one module in their own type, while wider ones stand in for them."""

    def __init__(self, owners: list[nn.Module], dtype: torch.dtype) -> None:
        self.owners, self.dtype = owners, dtype
        self.calls = 0
        self.kept: list[tuple[dict[str, Any], str, Any, Any]] = []

    def _narrow(self) -> Iterator[tuple[dict[str, Any], str, Any]]:
        for owner in self.owners:
            for values in (owner._parameters, owner._buffers):
                for name, value in values.items():
                    if value is not None and value.is_floating_point() and value.dtype != self.dtype:
                        yield values, name, value

    def any(self) -> bool:
        return next(self._narrow(), None) is not None

    def widen(self, *_: Any) -> None:
        self.calls += 1
        for values, name, value in list(self._narrow()):
            wide = value.detach().to(self.dtype)
            values[name] = nn.Parameter(wide, requires_grad=False) if isinstance(value, nn.Parameter) else wide
            self.kept.append((values, name, value, values[name]))

    def restore(self, *_: Any) -> None:
        self.calls -= 1
        if self.calls:  # a module that calls itself
            return
        for values, name, value, wide in self.kept:
            if values.get(name) is wide:
                values[name] = value
        self.kept.clear()
