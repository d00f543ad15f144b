"""One process's part of a weight that is a DTensor (FSDP2, tensor parallel): its elements and the rows they are of.

A row may lie on one process, or a part of it on each: FSDP2 cuts the outputs of a layer, so that every process has a
part of every row, and a row-wise parallel layer is cut between rows. For each element here the number of its row is
known, whatever the placement is, and whether shards are of equal size or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, cast

import torch
from torch import Tensor

__all__ = [
    "Layout",
    "Shard",
    "gathered",
    "is_sharded",
    "local_of",
    "shard_of",
    "unusable_placement",
    "whole_shaped",
    "write_part_",
]

Blocks = Callable[[Tensor], Tensor]  # the row blocks of a layer's kind, (groups, rows per group, …rest)


def is_sharded(tensor: object) -> bool:
    """Tell whether a tensor is a DTensor: a part of it, or a copy, is on each process."""
    return any(cls.__name__ == "DTensor" for cls in type(tensor).__mro__)


@torch.no_grad()
def local_of(tensor: Tensor) -> Tensor:
    """The part of a DTensor on this process, in its own memory; any other tensor as it is."""
    return cast(Tensor, cast(Any, tensor).to_local()) if is_sharded(tensor) else tensor


@torch.no_grad()
def gathered(tensor: Tensor) -> Tensor:
    """A whole copy of a DTensor, sent to every process: all of them must call this. Any other tensor as it is."""
    if not is_sharded(tensor):
        return tensor
    whole = cast(Any, tensor).detach()
    kind = whole.device_mesh.device_type
    if whole.device.type != kind:  # offloaded to the CPU
        return cast(Tensor, whole.to(kind).full_tensor().to(tensor.device))
    return cast(Tensor, whole.full_tensor())


@torch.no_grad()
def write_part_(tensor: Tensor, write: Callable[[Tensor], object]) -> None:
    """Write a whole tensor into a DTensor, of which each process keeps its part; nothing is sent.

    Args:
        tensor: a DTensor; modified in place.
        write: fills a whole tensor, with the same values on every process.
    """
    mesh, placements, local = cast(Any, tensor).device_mesh, tuple(cast(Any, tensor).placements), local_of(tensor)
    whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=local.device)
    write(whole)
    for d in range(whole.ndim):
        whole = whole.index_select(d, _indices(whole.shape[d], d, whole.ndim, mesh, placements).to(whole.device))
    local.copy_(whole)


def whole_shaped(weight: Tensor) -> Tensor:
    """A tensor without values of a DTensor's whole shape, to look at views of it; any other tensor as it is."""
    return torch.empty(weight.shape, dtype=weight.dtype, device="meta") if is_sharded(weight) else weight


def unusable_placement(weight: Tensor) -> str:
    """Return why the rows of a DTensor cannot be read and scaled in place; empty if they can."""
    mesh, placements = cast(Any, weight).device_mesh, cast(Any, weight).placements
    if mesh.get_coordinate() is None:
        return "weight is a DTensor of other processes than this one"
    for placement in placements:
        if not placement.is_replicate() and getattr(placement, "dim", None) is None:
            return f"weight is a DTensor with placement {placement}; it must be sharded or replicated"
    return ""


@dataclass(frozen=True)
class Layout:
    """The place of one process's part of a weight.

    Attributes:
        numbers: the row number of every element, in a shape that broadcasts to the part's; int64 on the CPU.
        n_rows: the rows of the whole weight.
        start: the number of the part's first row, if its rows have consecutive numbers and lie in memory as those of a
            whole weight do; else None.
        dims: the dimensions of the mesh that shards are spread over, with more than one process.
        counts: whether this process is the one that counts among those that hold the same part.
    """

    numbers: Tensor
    n_rows: int
    start: int | None
    dims: tuple[int, ...]
    counts: bool

    @property
    def across(self) -> tuple[int, ...]:
        """The dimensions of the weight whose elements are of one row."""
        return tuple(d for d, size in enumerate(self.numbers.shape) if size == 1)


@dataclass(frozen=True)
class Shard:
    """One process's part of a weight: its elements, its place, and the mesh of processes.

    The methods look at this part alone; :func:`torch_growl.networks.sharding.exchange.summed` adds up all parts.
    """

    local: Tensor
    layout: Layout
    mesh: Any

    @torch.no_grad()
    def squares(self) -> Tensor:
        """The sum of squares of each row's elements here: ``(n_rows,)`` float64."""
        norms = torch.linalg.vector_norm(
            self.local.unsqueeze(-1), dim=(*self.layout.across, self.local.ndim), keepdim=True, dtype=torch.float64
        )
        return self._by_row(norms.squeeze(-1).square())

    @torch.no_grad()
    def nonzeros(self) -> Tensor:
        """The number of each row's nonzero elements here: ``(n_rows,)`` float64."""
        return self._by_row((self.local != 0).double().sum(self.layout.across, keepdim=True))

    @torch.no_grad()
    def scale_(self, scale: Tensor) -> None:
        """Multiply the elements of row i by ``scale[i]``, in place."""
        numbers = self.layout.numbers.to(scale.device)
        self.local.mul_(scale[numbers].to(self.local))

    def _by_row(self, values: Tensor) -> Tensor:
        numbers = self.layout.numbers.to(values.device)
        found = torch.zeros(self.layout.n_rows, dtype=torch.float64, device=values.device)
        return found.index_add_(0, numbers.flatten(), values.expand(numbers.shape).flatten())


def shard_of(weight: Tensor, blocks: Blocks) -> Shard:
    """Describe one process's part of a DTensor.

    Args:
        weight: a layer's weight, or another DTensor of its shape and placements.
        blocks: gives the row blocks of a whole weight.
    """
    mesh, placements = cast(Any, weight).device_mesh, tuple(cast(Any, weight).placements)
    whole = blocks(torch.empty(weight.shape, device="meta"))
    coordinate = tuple(mesh.get_coordinate())  # equal meshes of two process groups may differ in it
    layout = _layout(tuple(weight.shape), mesh, placements, coordinate, tuple(whole.shape[:2]), whole.stride()[:2])
    return Shard(local_of(weight), layout, mesh)


@lru_cache(maxsize=4096)
def _layout(
    shape: tuple[int, ...],
    mesh: Any,
    placements: tuple[Any, ...],
    coordinate: tuple[int, ...],
    counts: tuple[int, int],
    strides: tuple[int, int],
) -> Layout:
    numbers = _row_numbers(shape, counts, strides)
    for d in range(len(shape)):
        if numbers.shape[d] > 1:
            numbers = numbers.index_select(d, _indices(shape[d], d, len(shape), mesh, placements))
    flat = numbers.flatten()
    plain = counts[0] == 1 and len(flat) > 0 and bool((flat.diff() == 1).all())
    dims = tuple(k for k, p in enumerate(placements) if not p.is_replicate() and mesh.size(k) > 1)
    first = all(at == 0 for k, at in enumerate(coordinate) if k not in dims)
    return Layout(numbers, prod(counts), int(flat[0]) if plain else None, dims, first)


def _row_numbers(shape: tuple[int, ...], counts: tuple[int, int], strides: tuple[int, int]) -> Tensor:
    """The number of each element's row in a whole weight, from the strides of groups and of rows in its row blocks."""
    numbers = torch.zeros([1] * len(shape), dtype=torch.int64)
    for count, stride, unit in zip(counts, strides, (counts[1], 1), strict=True):
        for d, size in enumerate(shape):
            step = prod(shape[d + 1 :])
            if count > 1 and step <= stride < step * size:
                along = torch.arange(size) // (stride // step) % count * unit
                numbers = numbers + along.reshape([size if other == d else 1 for other in range(len(shape))])
    return numbers


def _indices(size: int, dim: int, ndim: int, mesh: Any, placements: tuple[Any, ...]) -> Tensor:
    """The indices of one dimension that this process has, as torch distributes them; nothing is sent."""
    from torch.distributed.tensor import Replicate, distribute_tensor

    own = [p if getattr(p, "dim", None) in (dim, dim - ndim) else Replicate() for p in placements]
    along = torch.arange(size).reshape([size if other == dim else 1 for other in range(ndim)])
    return distribute_tensor(along, mesh, own, src_data_rank=None).to_local().flatten().cpu()
