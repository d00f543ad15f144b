"""The rules of operations that combine several activations: pointwise ones, matrix products and attention.

*Pointwise* operations couple the channels that meet at one place. The *leader* is the operand with channels along the
most dimensions. An operand with channels along the same dimensions is coupled with it. One with channels along fewer
dimensions is read by it: a channel of this operand is needed while any of the leader's that it meets is.

*Products* contract one dimension. In ``scores = q @ kᵀ`` the contracted head dimensions of q and k are coupled; a head
of the scores is a channel of its own, which reads them. In ``scores @ v`` the result's channels are those of v, and
they read the head's scores. So a head whose results are not needed is removed from q, k and v.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torch_growl.networks.wiring.identities import FIXED, all_fixed, constant_along, squashed, tensor_leaves, varying
from torch_growl.networks.wiring.watching import Watch

__all__ = ["MULTIPLIED", "PRODUCTS", "record_pointwise"]

MULTIPLIED = "its output is multiplied with another activation in "


def _pin_operands(watch: Watch, *operands: Tensor) -> None:
    for ids in operands:
        watch.recording.pin(ids, f"{MULTIPLIED}{watch.place}")


def _product(watch: Watch, a: Tensor, b: Tensor) -> Tensor | None:
    """The identities of ``a @ b``; None when its operands must stay.

    Args:
        watch: the run that is recorded.
        a: identities ``(…, m, k)``.
        b: identities ``(…, k, n)``, with as many dimensions.
    """
    a, b = squashed(a), squashed(b)
    found = watch.recording
    contracted = not constant_along(a, [-1]) or not constant_along(b, [-2])
    if contracted:
        found.couple(a.select(-2, 0).unsqueeze(-1), b.select(-1, 0).unsqueeze(-1))
        if not (constant_along(a, [-2]) and constant_along(b, [-1])):
            _pin_operands(watch, a, b)
            return None
        left, right = a[..., 0, 0], b[..., 0, 0]
        heads = _heads(watch, left, right)
        if heads is None:
            _pin_operands(watch, a, b)
            return None
        found.read(a[..., 0, :], heads.unsqueeze(-1))
        found.read(b[..., 0], heads.unsqueeze(-1))
        shape = [*heads.shape, a.shape[-2], b.shape[-1]]
        return heads[..., None, None].expand(shape)
    left, right = a[..., 0], b[..., 0, :]  # (…, m), (…, n)
    if constant_along(left, [-1]):
        if bool((right == FIXED).all()) and bool((left != FIXED).any()):
            whole = left[..., :1, None]
        else:
            found.read(left[..., :1], right)
            whole = right[..., None, :]
    elif constant_along(right, [-1]):
        found.read(right[..., :1], left)
        whole = left[..., :, None]
    else:
        _pin_operands(watch, a, b)
        return None
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return whole.expand(*batch, a.shape[-2], b.shape[-1])


def _heads(watch: Watch, left: Tensor, right: Tensor) -> Tensor | None:
    """New identities, one for every different pair of heads that are multiplied: ``(…)``; None when there is none."""
    left, right = torch.broadcast_tensors(left, right)
    pairs = torch.stack([left.reshape(-1), right.reshape(-1)], dim=1)
    if not len(pairs):
        return None
    unique, number = torch.unique(pairs, dim=0, return_inverse=True)
    return squashed(watch.recording.fresh(len(unique))[number].reshape(left.shape))


def _matmul(watch: Watch, args: Any, kwargs: Any, result: Tensor) -> None:
    a, b = watch.of_or_fixed(args[0]), watch.of_or_fixed(args[1])
    if a.ndim < 2 or b.ndim < 2:
        _pin_operands(watch, a, b)
        return
    ids = _product(watch, a, b)
    if ids is not None:
        watch.keep(result, ids.expand(result.shape))


def _added(watch: Watch, args: Any, kwargs: Any, result: Tensor) -> None:
    """Record ``c + a @ b``."""
    c, a, b = (watch.of_or_fixed(value) for value in args[:3])
    ids = _product(watch, a, b)
    if ids is None:
        _pin_operands(watch, c)
        return
    ids = ids.expand(result.shape)
    if constant_along(c, range(c.ndim)) and bool((c == FIXED).all()):
        if set(varying(squashed(ids))) & {dim for dim in range(-c.ndim, 0) if c.shape[dim] > 1}:
            _pin_operands(watch, ids)
            return
    else:
        watch.recording.couple(ids, c)
    watch.keep(result, ids)


def _attention(watch: Watch, args: Any, kwargs: Any, result: Any) -> None:
    q, k, v = (squashed(watch.of_or_fixed(value)) for value in args[:3])
    y = result[0] if isinstance(result, tuple | list) else result
    if q.ndim != 4:
        _pin_operands(watch, q, k, v)
        return
    if k.shape[1] != q.shape[1]:  # grouped queries
        k, v = (ids.repeat_interleave(q.shape[1] // ids.shape[1], dim=1) for ids in (k, v))
    scores = _product(watch, q, k.transpose(-2, -1))
    mask = kwargs.get("attn_mask", args[3] if len(args) > 3 and isinstance(args[3], Tensor) else None)
    if scores is None:
        _pin_operands(watch, v)
        return
    if mask is not None:
        held = watch.of_or_fixed(mask)
        held = held.reshape((1,) * (scores.ndim - held.ndim) + tuple(held.shape))
        if bool((held != FIXED).any()):
            watch.recording.couple(squashed(scores), squashed(held))
        elif held.shape[1] > 1 and not constant_along(squashed(scores), [1]):
            _pin_operands(watch, scores, v)
            return
    ids = _product(watch, scores, v)
    if ids is not None:
        watch.keep(y, ids.expand(y.shape))


PRODUCTS: dict[str, Callable[[Watch, Any, Any, Any], None]] = {
    "mm": _matmul,
    "bmm": _matmul,
    "matmul": _matmul,
    "addmm": _added,
    "baddbmm": _added,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_attention_math": _attention,
    "_scaled_dot_product_attention_math_for_mps": _attention,
    "_scaled_dot_product_cudnn_attention": _attention,
    "scaled_dot_product_attention": _attention,
}


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
