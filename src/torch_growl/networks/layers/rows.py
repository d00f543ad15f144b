"""The rows of a layer: its weight read, scaled and written row by row, whatever the memory format.

A *row* is one input of a layer with all its outgoing weights, or one output with all its incoming ones. All functions
work through the *row blocks* of the layer's kind: a strided view of the weight of shape
``(groups, rows per group, …rest)``. A weight that is spread over processes is read as a whole copy, which all processes
must ask for, and written to in place on each of them; norms need their sums only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from torch_growl.networks.layers.kinds import Side, registered_kind
from torch_growl.networks.sharding import Shard, gathered, is_sharded, part_of, shard_of, summed, write_part_

__all__ = [
    "nonzero_rows",
    "row_blocks",
    "row_norms",
    "rows_of",
    "scale_rows_",
    "shard_rows",
    "write_rows_",
    "zero_rows_",
]


def row_blocks(module: nn.Module, side: Side = "input", weight: Tensor | None = None) -> Tensor:
    """A view of the layer's weight as ``(groups, rows per group, …rest)``; arguments and errors of :func:`rows_of`.

    Of a weight that is spread over processes, a copy; all processes must call this.
    """
    return registered_kind(module).blocks(
        module, gathered(cast(Tensor, module.weight) if weight is None else weight), side
    )


def shard_rows(module: nn.Module, side: Side = "input", weight: Tensor | None = None) -> Shard | None:
    """This process's part of the rows of a weight that is spread over processes; None of any other weight."""
    weight = cast(Tensor, module.weight) if weight is None else weight
    if not is_sharded(weight):
        return None
    kind = registered_kind(module)
    return shard_of(weight, lambda whole: kind.blocks(module, whole, side))


def rows_of(module: nn.Module, side: Side = "input", weight: Tensor | None = None) -> Tensor:
    """The layer's weight as a matrix ``(n_rows, row_length)``; a view where the layout allows it, else a copy.

    Args:
        module: a layer of a registered type; not modified.
        side: ``"input"``: a row is one input with all its outgoing weights; ``"output"``: one neuron or filter.
        weight: another tensor of the weight's shape to read in its place.

    Raises:
        LayerError: the type is not registered.
    """
    blocks = row_blocks(module, side, weight)
    return blocks.flatten(0, 1).flatten(1) if blocks.ndim > 2 else blocks.flatten(0, 1).unsqueeze(1)


def row_norms(module: nn.Module, side: Side = "input") -> Tensor:
    """The ℓ2 norm of every row: ``(n_rows,)``, float32 (float64 for float64 weights), without a copy of the weight.

    All processes that a weight is spread over must call this.
    """
    if (shard := shard_rows(module, side)) is not None:
        wide = torch.float64 if shard.local.dtype == torch.float64 else torch.float32
        return summed([part_of(shard, shard.squares())])[0].sqrt().to(wide)
    blocks = row_blocks(module, side).detach()
    if blocks.ndim == 2:
        blocks = blocks.unsqueeze(2)  # torch takes the norm over all dimensions if it is given none
    dtype = torch.float64 if blocks.dtype == torch.float64 else torch.float32
    norms: Tensor = torch.linalg.vector_norm(blocks, dim=tuple(range(2, blocks.ndim)), dtype=dtype)
    return norms.flatten()


@torch.no_grad()
def nonzero_rows(modules: Sequence[nn.Module], side: Side = "input") -> list[Tensor]:
    """For each layer the rows that are not all zero, ``(n_rows,)`` bool; of sharded weights with one collective."""
    shards = [shard_rows(module, side) for module in modules]
    counts = iter(summed([part_of(shard, shard.nonzeros()) for shard in shards if shard is not None]))
    return [
        (rows_of(module, side) != 0).any(dim=1) if shard is None else next(counts) > 0
        for module, shard in zip(modules, shards, strict=True)
    ]


@torch.no_grad()
def scale_rows_(module: nn.Module, scale: Tensor, side: Side = "input", weight: Tensor | None = None) -> None:
    """Multiply row i of the layer's weight by ``scale[i]``, in place; a scale of 0 gives exact zeros.

    Args:
        module: a layer of a registered type; its weight is modified.
        scale: ``(n_rows,)``; cast to the weight's type.
        side: which rows.
        weight: another tensor of the weight's shape to scale instead.
    """
    if (shard := shard_rows(module, side, weight)) is not None:
        return shard.scale_(scale)
    blocks = row_blocks(module, side, weight)
    shape = (*blocks.shape[:2], *([1] * (blocks.ndim - 2)))
    blocks.mul_(scale.to(blocks.dtype).reshape(shape))
    return None


def zero_rows_(module: nn.Module, gone: Tensor, side: Side = "input") -> None:
    """Set rows of the layer's weight to exact zeros, in place.

    Args:
        module: a layer of a registered type; its weight is modified.
        gone: ``(n_rows,)`` bool, on any device: the rows.
        side: which rows.
    """
    weight = cast(Tensor, module.weight)
    scale_rows_(module, (~gone).to(weight.device, weight.dtype), side)


def write_rows_(module: nn.Module, rows: Tensor, side: Side = "input", weight: Tensor | None = None) -> None:
    """Write a matrix ``(n_rows, row_length)`` into the layer's weight.

    It is differentiable in ``rows`` when ``weight`` is a fresh tensor.

    Args:
        module: a layer of a registered type; its weight is modified, outside of autograd.
        rows: the new rows, of the shape that :func:`rows_of` gives.
        side: which rows.
        weight: another tensor of the weight's shape to write into instead.
    """
    weight = cast(Tensor, module.weight).detach() if weight is None else weight
    if is_sharded(weight):
        write_part_(weight, lambda whole: write_rows_(module, rows, side, whole))
        return
    blocks = row_blocks(module, side, weight)
    blocks.copy_(rows.reshape(blocks.shape))
