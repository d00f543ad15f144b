"""The rules of pointwise operations: channels that meet at one place are coupled.

The *leader* is the operand with channels along the most dimensions. An operand with channels along the same dimensions
is coupled with it. One with channels along fewer dimensions is read by it: a channel of this operand is needed while
any of the leader's that it meets is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_growl.networks.wiring.identities import FIXED, all_fixed, squashed, varying
from torch_growl.networks.wiring.watching import Watch, tensor_leaves

__all__ = ["record_pointwise"]


def record_pointwise(watch: Watch, leaves: list[Tensor], result: Any, inplace: bool) -> None:
    """Record a pointwise operation.

    Args:
        watch: the run that is recorded.
        leaves: the tensors that it reads.
        result: its result.
        inplace: whether it is written into the first of them.
    """
    results = tensor_leaves(result)
    if not results:
        return
    y = results[0]
    found = watch.recording
    known = [(value, ids) for value in leaves if (ids := watch.of(value)) is not None]
    if inplace and watch.of(leaves[0]) is None:
        for _, ids in known:
            found.pin(ids, f"its output is written into another tensor in {watch.place}")
        return
    operands = []
    for value in leaves:
        if value.ndim > y.ndim:
            watch.pin_unknown(leaves, "a pointwise operation")
            return
        ids = watch.of_or_fixed(value)
        operands.append(ids.reshape((1,) * (y.ndim - value.ndim) + tuple(value.shape)) if value.ndim < y.ndim else ids)
    operands = [squashed(ids) for ids in operands]
    leader = max(operands, key=lambda ids: (len(varying(ids)), int((ids != FIXED).any())))
    needs: list[tuple[tuple[int, ...], Tensor]] = []
    dims = varying(leader)
    for ids in operands:
        if ids is not leader:
            need = _meet(watch, leader, dims, ids)
            if need is not None:
                needs.append(need)
    if needs:
        found.grid(leader, needs)
    watch.keep(y, _merged(leader, operands, y.shape))
    for value in results[1:]:
        if value.shape == y.shape:
            watch.keep(value, watch.of(y))


def _merged(leader: Tensor, operands: list[Tensor], shape: torch.Size) -> Tensor:
    """The identities of the result: the leader's, and those of other operands at places that it must keep."""
    found = leader.expand(shape)
    if bool((leader != FIXED).all()):
        return found
    for ids in operands:
        if ids is not leader and not set(varying(ids)) - set(varying(leader)):
            found = torch.where(found == FIXED, ids.expand(shape), found)
    return found


def _meet(watch: Watch, leader: Tensor, dims: tuple[int, ...], ids: Tensor) -> tuple[tuple[int, ...], Tensor] | None:
    """Record that two operands meet: channels at one place are coupled, or the leader's read the other's.

    Returns:
        For an operand that is read and has some of the leader's dimensions: these axes, and its identities along them.
    """
    found = watch.recording
    if any(ids.shape[dim] > 1 and dim not in dims for dim in varying(ids)):  # channels along a dimension of its own
        found.pin(ids, f"its output meets channels along another dimension in {watch.place}")
        ids = all_fixed(ids.shape)
    shared = tuple(dim for dim in dims if ids.shape[dim] > 1)
    if len(shared) == len(dims) and dims:
        found.couple(leader, ids)
        return None
    if not dims:
        if bool((leader != FIXED).any()) and bool((ids != FIXED).any()):
            found.couple(leader, ids)
        return None
    found.read(ids, leader)
    if not shared:
        return None
    for dim in range(ids.ndim):
        if dim not in shared:
            ids = ids.narrow(dim, 0, 1)
    return tuple(dims.index(dim) for dim in shared), ids.reshape([ids.shape[dim] for dim in shared]).clone()
