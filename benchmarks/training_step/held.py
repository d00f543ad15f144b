"""Counts the bytes of tensors and arrays that an object keeps between calls, without those of its model."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isroutine
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["held_bytes"]


def held_bytes(holder: object, model: nn.Module) -> int:
    """Sum the memory of every tensor and array that can be reached from an object, each once, the model's own left out.

    Attributes, dicts, lists, tuples and sets are followed; modules, classes and functions are not.
    """
    own = {_address(tensor) for tensor in (*model.parameters(), *model.buffers())}
    sizes: dict[int, int] = {}
    seen: set[int] = set()
    waiting: list[Any] = [holder]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, nn.Module | type) or isroutine(found):
            continue
        seen.add(id(found))
        if isinstance(found, Tensor):
            sizes[_address(found)] = found.untyped_storage().nbytes()
        elif isinstance(found, np.ndarray):
            sizes[found.__array_interface__["data"][0]] = found.nbytes
        elif isinstance(found, Mapping):
            waiting += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple | set | frozenset):
            waiting += found
        else:
            waiting += getattr(found, "__dict__", {}).values()
            waiting += [getattr(found, name) for name in getattr(type(found), "__slots__", ()) if hasattr(found, name)]
    return sum(size for address, size in sizes.items() if address not in own)


def _address(tensor: Tensor) -> int:
    return torch.Tensor.untyped_storage(tensor).data_ptr()
