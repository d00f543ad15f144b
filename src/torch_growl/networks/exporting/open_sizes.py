"""Sizes of inputs that an exported network leaves open beside the batch: sequence lengths, heights and widths.

A size is tried if the network itself runs with one more. Dimensions of the same number and size in several inputs
(token ids and their mask) are changed together; if the network refuses that, all dimensions of the same size are (a
square mask).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from torch_growl.networks.execution import Inputs, batch_size

__all__ = ["OpenSize", "accepted_sizes", "dynamic_shapes", "resized"]


@dataclass(frozen=True)
class OpenSize:
    """A size that may be another one.

    Attributes:
        size: the example's.
        places: ``(input, dimension)``, inputs numbered in the order in which they are flattened.
    """

    size: int
    places: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        number, dim = self.places[0]
        return f"dimension {dim} of input {number} (size {self.size})"


def _leaves(inputs: Inputs) -> list[Any]:
    return pytree.tree_leaves(inputs)


def _candidates(inputs: Inputs) -> list[list[OpenSize]]:
    """For every size beside the batch, the ways to change it, the narrowest first."""
    batch = batch_size(inputs)
    places = [
        (number, dim, size)
        for number, value in enumerate(_leaves(inputs))
        if isinstance(value, Tensor)
        for dim, size in enumerate(value.shape)
        if size > 1 and not (dim == 0 and size == batch)  # torch.export takes a size of 1 for a constant
    ]
    found: dict[tuple[int, int], list[OpenSize]] = {}
    for _, dim, size in places:
        if (dim, size) not in found:
            same = tuple((n, d) for n, d, s in places if (d, s) == (dim, size))
            every = tuple((n, d) for n, d, s in places if s == size)
            found[dim, size] = [OpenSize(size, same), *([OpenSize(size, every)] if every != same else [])]
    return list(found.values())


def resized(inputs: Inputs, changes: Sequence[OpenSize], by: int = 1) -> Inputs:
    """Return the inputs with some sizes increased; values are repeated from the start."""
    leaves, tree = pytree.tree_flatten(inputs)
    for change in changes:
        for number, dim in change.places:
            value = leaves[number]
            index = torch.arange(change.size + by, device=value.device) % change.size
            leaves[number] = value.index_select(dim, index)
    found: Inputs = pytree.tree_unflatten(leaves, tree)
    return found


def accepted_sizes(inputs: Inputs, runs: Callable[[Inputs], object]) -> list[OpenSize]:
    """Find the sizes that a network itself leaves open.

    Args:
        inputs: the example.
        runs: runs the network; it raises an error where a size is refused.
    """
    found: list[OpenSize] = []
    for ways in _candidates(inputs):
        for way in ways:
            try:
                runs(resized(inputs, [way]))
                runs(resized(inputs, [way], by=2))
            except Exception:  # any error of the network's own code
                continue
            if not any(set(way.places) & set(other.places) for other in found):
                found.append(way)
            break
    return found


def dynamic_shapes(inputs: Inputs, sizes: Sequence[OpenSize]) -> Any:
    """Return ``torch.export``'s ``dynamic_shapes``: the batch, and open sizes, whose range torch finds.

    The batch is dimension 0 of the first tensor, and of every other tensor that has the same size there.
    """
    size, batch = batch_size(inputs), torch.export.Dim("batch")
    leaves, tree = pytree.tree_flatten(inputs)
    shapes: list[Any] = []
    for number, value in enumerate(leaves):
        dims: dict[int, Any] = {}
        if isinstance(value, Tensor):
            if value.ndim and len(value) == size:
                dims[0] = batch
            dims |= {d: torch.export.Dim.DYNAMIC for change in sizes for n, d in change.places if n == number}
        shapes.append(dims or None)
    args, kwargs = pytree.tree_unflatten(shapes, tree)
    return kwargs or args
