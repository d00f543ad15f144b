"""The memory of a layer's weight, described as the parts that ``owl.row_scaling`` reads and scales."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from torch_growl.networks.layers import Side, kind_of

__all__ = ["Part", "dense_layout", "parts_of"]

Part = tuple[int, ...]  # address, is float64, groups, outer, rows, inner

_DENSE = {torch.float32: 0, torch.float64: 1}
_MOST = 8  # parts of a weight: each may need its own row sums
_LEAST = 1 << 18  # weights that are worth a part


def dense_layout(module: nn.Module, weight: Tensor, side: Side) -> Part | None:
    """Describe a weight on the CPU as one part; None if its memory has gaps or another order than a part can have.

    Args:
        module: a layer of a registered type.
        weight: its weight, or another of its shape.
        side: which rows.
    """
    kind = kind_of(module)
    if kind is None or weight.dtype not in _DENSE or weight.numel() == 0:
        return None
    blocks = kind.blocks(module, weight.detach(), side)  # (groups, rows, …rest)
    groups, rows = blocks.shape[:2]
    row_stride = blocks.stride(1) if rows > 1 else None
    rest = sorted(
        (stride, size) for size, stride in zip(blocks.shape[2:], blocks.stride()[2:], strict=True) if size > 1
    )
    inner = outer = 1
    for stride, size in rest:
        if outer == 1 and stride == inner and stride != row_stride:
            inner *= size
        elif stride == inner * rows * outer:
            outer *= size
        else:
            return None
    if row_stride not in (None, inner) or (groups > 1 and blocks.stride(0) != outer * rows * inner):
        return None
    return weight.data_ptr(), _DENSE[weight.dtype], groups, outer, rows, inner


def parts_of(whole: Part) -> Iterator[tuple[Part, int]]:
    """Cut a weight into up to eight parts of about equal size, each with its first row within the weight.

    The cuts are between rows if rows lie one behind another, or between groups if there are several; otherwise every
    part has a share of every row.
    """
    address, wide, groups, outer, rows, inner = whole
    count = min(_MOST, -(-groups * outer * rows * inner // _LEAST))
    size = 8 if wide else 4
    if outer == 1:
        groups, rows = groups * rows, 1
    along, step, per = (groups, outer * rows * inner, rows) if groups > 1 else (outer, rows * inner, 0)
    count = min(count, along)
    for i in range(count):
        first, last = along * i // count, along * (i + 1) // count
        shape = (last - first, outer) if groups > 1 else (1, last - first)
        yield (address + first * step * size, wide, *shape, rows, inner), first * per
