"""Checks that a layer's weight is a tensor whose rows can be read and scaled in place.

A layer can have any tensor as its weight: one that is spread over processes, a tensor of another shape, memory that was
given back. Compiled code gets addresses, so every property that it relies on is checked here first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torch_growl.errors import first_line
from torch_growl.networks.layers.kinds import LayerKind
from torch_growl.networks.sharding import is_sharded, local_of, unusable_placement, whole_shaped

__all__ = ["unusable_weight"]

_FLAT = "FSDP1 keeps weights in flat parameters; shard with torch.distributed.fsdp.fully_shard (FSDP2), or use DDP"
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def unusable_weight(module: nn.Module, kind: LayerKind, weight: Tensor) -> str:
    """Return why the rows of a weight cannot be read and scaled in place; empty if they can.

    Args:
        module: the layer; not modified.
        kind: the kind of its type.
        weight: its weight; not read.
    """
    if is_sharded(weight) and (reason := unusable_placement(weight)):
        return reason
    if weight.layout != torch.strided:
        return f"weight is {weight.layout}, not dense"
    if not weight.is_floating_point():
        return f"weight is {weight.dtype}, not floating point"
    if weight.dtype not in _TYPES:
        return f"weight is {weight.dtype}; it must be float16, bfloat16, float32 or float64 while it is trained"
    if kind.weight_dims is not None and weight.ndim != kind.weight_dims:
        flat = f" ({_FLAT})" if weight.ndim == 1 else ""
        return f"weight has shape {tuple(weight.shape)} where its type has {kind.weight_dims} dimensions{flat}"
    if weight.numel() == 0:
        return "weight is empty"
    local = local_of(weight)
    if _outside_its_storage(local):
        return f"weight's memory was given back ({_FLAT})"
    if _overlaps(local):
        return "elements of its weight share memory; give it a weight.clone()"
    return _wrong_blocks(module, kind, whole_shaped(weight))


def _wrong_blocks(module: nn.Module, kind: LayerKind, weight: Tensor) -> str:
    """Return how the row blocks of a weight break the rules of :class:`LayerKind`; empty if they do not."""
    for side in ("input", "output"):
        try:
            blocks = kind.blocks(module, weight.detach(), side)
        except Exception as error:  # any registered function
            return f"weight of shape {tuple(weight.shape)} has no {side} rows: {first_line(error)}"
        if blocks.ndim < 2 or blocks.numel() != weight.numel() or blocks.data_ptr() != weight.data_ptr():
            return f"the row blocks that its type is registered with are no view of the whole weight ({side} rows)"
        if _last(blocks) != _last(weight) or _overlaps(blocks):
            return f"the row blocks that its type is registered with read outside of the weight ({side} rows)"
    return ""


def _last(weight: Tensor) -> int:
    """The place of the last element in memory, counted from the first."""
    return sum((size - 1) * stride for size, stride in zip(weight.shape, weight.stride(), strict=True))


def _outside_its_storage(weight: Tensor) -> bool:
    return (weight.storage_offset() + _last(weight) + 1) * weight.itemsize > weight.untyped_storage().nbytes()


def _overlaps(weight: Tensor) -> bool:
    """Tell whether elements share memory: each stride must reach beyond all that smaller ones span."""
    reach = 0
    for stride, size in sorted((st, si) for si, st in zip(weight.shape, weight.stride(), strict=True) if si > 1):
        if stride <= reach:
            return True
        reach += (size - 1) * stride
    return False
