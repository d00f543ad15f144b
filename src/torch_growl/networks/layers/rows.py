"""The rows of a layer: its weight read, scaled and written row by row, whatever the memory format.

A *row* is one input of a layer with all its outgoing weights, or one output with all its incoming ones. All functions
work through the *row blocks* of the layer's kind: a strided view of the weight of shape
``(groups, rows per group, …rest)``.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from torch_growl.networks.layers.kinds import Side, registered_kind

__all__ = ["row_blocks", "row_norms", "rows_of", "scale_rows_", "write_rows_", "zero_rows_"]


def row_blocks(module: nn.Module, side: Side = "input", weight: Tensor | None = None) -> Tensor:
    """A view of the layer's weight as ``(groups, rows per group, …rest)``; arguments and errors of :func:`rows_of`."""
    return registered_kind(module).blocks(module, cast(Tensor, module.weight) if weight is None else weight, side)


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
    """The ℓ2 norm of every row: ``(n_rows,)``, float32 (float64 for float64 weights), without a copy of the weight."""
    blocks = row_blocks(module, side).detach()
    if blocks.ndim == 2:
        blocks = blocks.unsqueeze(2)  # torch takes the norm over all dimensions if it is given none
    dtype = torch.float64 if blocks.dtype == torch.float64 else torch.float32
    norms: Tensor = torch.linalg.vector_norm(blocks, dim=tuple(range(2, blocks.ndim)), dtype=dtype)
    return norms.flatten()


@torch.no_grad()
def scale_rows_(module: nn.Module, scale: Tensor, side: Side = "input", weight: Tensor | None = None) -> None:
    """Multiply row i of the layer's weight by ``scale[i]``, in place; a scale of 0 gives exact zeros.

    Args:
        module: a layer of a registered type; its weight is modified.
        scale: ``(n_rows,)``; cast to the weight's type.
        side: which rows.
        weight: another tensor of the weight's shape to scale instead.
    """
    blocks = row_blocks(module, side, weight)
    shape = (*blocks.shape[:2], *([1] * (blocks.ndim - 2)))
    blocks.mul_(scale.to(blocks.dtype).reshape(shape))


def zero_rows_(module: nn.Module, gone: Tensor, side: Side = "input") -> None:
    """Set rows of the layer's weight to exact zeros, in place.

    Args:
        module: a layer of a registered type; its weight is modified.
        gone: ``(n_rows,)`` bool, on any device: the rows.
        side: which rows.
    """
    scale_rows_(module, (~gone).to(cast(Tensor, module.weight)), side)


def write_rows_(module: nn.Module, rows: Tensor, side: Side = "input", weight: Tensor | None = None) -> None:
    """Write a matrix ``(n_rows, row_length)`` into the layer's weight.

    It is differentiable in ``rows`` when ``weight`` is a fresh tensor.

    Args:
        module: a layer of a registered type; its weight is modified, outside of autograd.
        rows: the new rows, of the shape that :func:`rows_of` gives.
        side: which rows.
        weight: another tensor of the weight's shape to write into instead.
    """
    blocks = row_blocks(module, side, cast(Tensor, module.weight).detach() if weight is None else weight)
    blocks.copy_(rows.reshape(blocks.shape))
