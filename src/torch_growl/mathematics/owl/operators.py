"""The ordered weighted ℓ1 (OWL, sorted-ℓ1, SLOPE) norm, its dual norm and its proximal operator, and GrOWL's.

``Ω_λ(v) = Σ_i λ_i |v|_(i)`` with |v|_(1) ≥ |v|_(2) ≥ … and λ_1 ≥ … ≥ λ_n ≥ 0 (Zeng and Figueiredo 2014; Bogdan et
al. 2015). GrOWL is Ω_λ of the rows' ℓ2 norms (Zhang et al., ICLR 2018, eq. 3). These functions check their arguments
and serve any proximal algorithm; the penalty calls the kernels of this room directly.

Sums are float64 for every input type. The prox runs on the CPU: for tensors on another device, all values are copied to
the CPU at once, and all results back at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import accumulate
from typing import Any, NoReturn, overload

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from torch_growl.arguments import check_finite, check_floating, check_rows
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.mathematics.owl.sequences import check_lambda

__all__ = ["owl_dual_norm", "owl_norm", "prox_growl", "prox_owl"]

_WIDE = torch.float64


def owl_norm(v: Tensor, lam: Tensor) -> Tensor:
    """Return the OWL norm, ``Ω_λ(v) = Σ_i λ_i |v|_(i)``; differentiable (at a kink, one subgradient).

    Args:
        v: ``(n,)``, any real floating type; not modified.
        lam: ``(n,)``, non-negative, non-increasing; moved to v's device.

    Returns:
        A scalar of v's type, summed in float64.

    Raises:
        InvalidTypeError: not floating-point tensors.
        InvalidValueError: ``v`` is not 1-D or not finite, or ``lam`` is not a λ for it.

    Example:
        >>> import torch, torch_growl as tg
        >>> tg.owl_norm(torch.tensor([-1.0, 4.0, 2.0]), torch.tensor([3.0, 2.0, 1.0]))  # 3·4 + 2·2 + 1·1
        tensor(17.)
    """
    lam = check_lambda(lam, len(_vector("v", v))).to(v.device)
    check_finite("v", v)
    largest_first: Tensor = v.abs().sort(descending=True).values.to(torch.float64)
    return (largest_first * lam).sum().to(v.dtype)


def owl_dual_norm(u: Tensor, lam: Tensor) -> Tensor:
    """Return the dual OWL norm, ``Ω*(u) = max_k Σ_{i≤k} |u|_(i) / Σ_{i≤k} λ_i`` (Zeng and Figueiredo 2014, eq. 14).

    It is the smallest a for which ``prox_owl(u, a·lam)`` is zero. For λ = 0 it is 0 if u = 0, else infinite.

    Args:
        u: ``(n,)``, any real floating type; not modified.
        lam: ``(n,)``, non-negative, non-increasing; moved to u's device.

    Returns:
        A scalar of u's type, computed in float64; differentiable.

    Raises:
        InvalidTypeError: not floating-point tensors.
        InvalidValueError: ``u`` is not 1-D or not finite, or ``lam`` is not a λ for it.

    Example:
        >>> import torch, torch_growl as tg
        >>> tg.owl_dual_norm(torch.tensor([2.0, 2.0, 2.0]), torch.tensor([3.0, 2.0, 1.0]))  # 6/6 > 4/5 > 2/3
        tensor(1.)
    """
    lam = check_lambda(lam, len(_vector("u", u))).to(u.device)
    check_finite("u", u)
    if len(u) == 0:
        return u.sum()
    sums: Tensor = u.abs().sort(descending=True).values.to(torch.float64).cumsum(0)
    if not bool(lam[0] > 0):
        return torch.where(sums[-1] > 0, torch.inf, 0.0).to(u.dtype)
    return (sums / lam.cumsum(0)).max().to(u.dtype)


@overload
def prox_owl(v: Tensor, lam: Tensor) -> Tensor: ...
@overload
def prox_owl(v: Iterable[Tensor], lam: Iterable[Tensor]) -> list[Tensor]: ...
def prox_owl(v: Tensor | Iterable[Tensor], lam: Tensor | Iterable[Tensor]) -> Tensor | list[Tensor]:
    """Apply the proximal operator of the OWL norm, ``argmin_x ½‖x − v‖² + Ω_λ(x)``.

    The steps are: sort |v| descending, subtract λ, non-increasing isotonic regression, clip at 0, unsort, restore the
    signs. Pooled values are bit-equal in the result. A constant λ is soft thresholding and λ = 0 the identity, both bit
    for bit.

    Differentiable once, in v and λ: within a block of pooled values every derivative is the block's mean; where the
    result is 0 the derivative is 0. At a kink this is one element of the generalised Jacobian.

    Args:
        v: ``(n,)``, any real floating type; or several such tensors, each of its own length, type and device, which are
            computed in one pass. Not modified.
        lam: ``(n,)``, non-negative, non-increasing, already scaled (step · strength · λ); one for each of several v.

    Returns:
        ``(n,)`` of v's type, on its device, computed in float64 and rounded once; for several v, a list of results.

    Raises:
        InvalidTypeError: not floating-point tensors, or only one of the two is a tensor.
        InvalidValueError: ``v`` is not 1-D or not finite, ``lam`` is not a λ for it, or their numbers differ.

    Example:
        >>> import torch, torch_growl as tg
        >>> tg.prox_owl(torch.tensor([5.0, -4.0, 4.0, 0.5]), torch.tensor([3.0, 2.0, 1.0, 1.0]))
        tensor([ 2.3333, -2.3333,  2.3333,  0.0000])
    """
    if isinstance(v, Tensor) and isinstance(lam, Tensor):
        return _prox_one(v, lam)
    if isinstance(v, Tensor) or isinstance(lam, Tensor):
        raise InvalidTypeError("v and lam must both be tensors, or both be lists of tensors")
    vs, lams = list(v), list(lam)
    if len(vs) != len(lams):
        raise InvalidValueError(f"v and lam must hold equally many tensors, got {len(vs)} and {len(lams)}")
    return _prox(vs, lams)


def prox_growl(W: Tensor, lam: Tensor) -> Tensor:
    """Apply the proximal operator of GrOWL, ``argmin_X ½‖X − W‖_F² + Σ_i λ_i ‖x_[i]‖₂`` (ICLR 2018, algorithm 1).

    Row i is scaled by ``prox_owl(norms)_i / norms_i``. Differentiable once; the gradient of a zero row is 0.

    Args:
        W: ``(n_rows, …)``, two dimensions or more, rows along dim 0; any real floating type; not modified.
        lam: ``(n_rows,)``, non-negative, non-increasing, already scaled.

    Returns:
        W's shape, type and device. Norms are float64; rows are scaled in float32, float64 for a float64 W.

    Raises:
        InvalidTypeError: not floating-point tensors.
        InvalidValueError: ``W`` has fewer than two dimensions or is not finite, or ``lam`` is not a λ for it.

    Example:
        >>> import torch, torch_growl as tg
        >>> tg.prox_growl(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([1.0, 1.0]))
        tensor([[2.4000, 3.2000],
                [0.0000, 0.0000]])
    """
    rows = check_rows("W", W).flatten(1)  # (n_rows, row_length)
    check_finite("W", rows)
    norms = _row_norms(rows)  # float64
    shrunk = prox_owl(norms, lam)
    scale = shrunk / torch.where(norms > 0, norms, 1.0)
    compute = torch.promote_types(W.dtype, torch.float32)
    return (rows.to(compute) * scale.to(compute).unsqueeze(1)).to(W.dtype).reshape(W.shape)


def _row_norms(rows: Tensor) -> Tensor:
    """Return the ℓ2 norms of the rows in float64, safe from overflow and underflow of the squares."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    if rows.dtype != torch.float64 or rows.numel() == 0:  # squares of any narrower type fit in a float64
        return norms
    largest = rows.detach().abs().amax(dim=1, keepdim=True)
    if bool(((largest > 1e140) | ((largest > 0) & (largest < 1e-140))).any()):
        unit = torch.where(largest > 0, largest, 1.0)
        norms = torch.linalg.vector_norm(rows / unit, dim=1) * unit.squeeze(1)
    return norms


class _Prox(torch.autograd.Function):
    """The prox of concatenated vectors, float64 on the CPU; see :func:`prox_owl` for its derivative."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, lam: Tensor, offsets: np.ndarray[Any, Any]) -> Tensor:
        x, order, block = map(torch.from_numpy, _kernel().prox_blocks(v.numpy(), lam.numpy(), offsets))
        ctx.save_for_backward(v, order, block)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        v, order, block = ctx.saved_tensors
        sign = torch.sign(v)[order]
        signed = sign * gradient[order]
        alive = block >= 0
        block, count = block[alive], int(block.max()) + 1 if len(block) else 0
        sums = signed.new_zeros(count).index_add_(0, block, signed[alive])
        means = torch.zeros_like(signed)
        means[alive] = (sums / torch.bincount(block, minlength=count))[block]
        of_v = torch.empty_like(gradient)
        of_v[order] = sign * means
        return of_v, -means, None


def _prox_one(v: Tensor, lam: Tensor) -> Tensor:
    """Compute the prox of one vector; the kernel reads a plain CPU tensor in place, as every call costs time here."""
    try:
        n = v.numel()
        if n == lam.numel() and _is_plain(v) and _is_plain(lam):
            at, lam_at = v.data_ptr(), lam.data_ptr()
            out = torch.empty_like(v)
            fault = _kernel().prox_vector(at, lam_at, out.data_ptr(), n, v.dtype is _WIDE, lam.dtype is _WIDE)
            if not fault:
                return out
    except RuntimeError:  # a tensor without memory of its own: sparse, or of torch.func
        pass
    return _prox([v], [lam])[0]


def _is_plain(v: Tensor) -> bool:
    """Return whether v is a vector in dense CPU memory that needs no gradient; raises if it has no memory."""
    return (
        type(v) is Tensor
        and v.is_cpu
        and (v.dtype is torch.float32 or v.dtype is _WIDE)
        and v.stride() == (1,)  # one dimension, contiguous
        and not (v.requires_grad or v.is_neg())
    )


def _prox(vs: list[Tensor], lams: list[Tensor]) -> list[Tensor]:
    """Check the vectors, concatenate them on the CPU, call the kernel once, and split the result."""
    for v, lam in zip(vs, lams, strict=True):
        n = len(_vector("v", v))
        if check_floating("λ", lam).shape != (n,):
            check_lambda(lam, n)  # raises
    flat, flat_lam = _together(vs), _together(lams)
    offsets = np.array([0, *accumulate(map(len, vs))], dtype=np.int64)
    x = torch.empty_like(flat, requires_grad=False)
    fault = _kernel().prox_vectors(flat.detach().numpy(), flat_lam.detach().numpy(), offsets, x.numpy())
    if fault:
        _explain(fault, vs, lams)
    if torch.is_grad_enabled() and (flat.requires_grad or flat_lam.requires_grad):
        x = _Prox.apply(flat, flat_lam, offsets)  # type: ignore[no-untyped-call]
    if len(vs) == 1:
        return [x.to(vs[0].device, vs[0].dtype)]
    return _apart(x, vs)


@cache
def _kernel() -> Any:
    """Load the compiled kernels when they are first needed."""
    from torch_growl.mathematics.owl import prox_kernel

    return prox_kernel


def _explain(fault: int, vs: list[Tensor], lams: list[Tensor]) -> NoReturn:
    """Raise the error that belongs to the kernel's fault code."""
    for v, lam in zip(vs, lams, strict=True):
        check_lambda(lam, len(v))
        check_finite("v", v)
    raise AssertionError(f"the kernel refused valid input, code {fault}")  # pragma: no cover


def _together(parts: list[Tensor]) -> Tensor:
    """Concatenate the parts into contiguous float64 on the CPU, with one copy from a device that holds them all."""
    if len(parts) == 1:  # to the CPU in its own type first: not every device has float64
        return parts[0].cpu().to(torch.float64).contiguous()
    if len({part.device for part in parts}) > 1:
        parts = [part.to("cpu") for part in parts]
    return torch.cat(parts).to("cpu").to(torch.float64) if parts else torch.empty(0, dtype=torch.float64)


def _apart(x: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Split what :func:`_together` joined; if all parts are on one device, with one copy to it in the widest type."""
    if like and len({part.device for part in like}) == 1 and like[0].device.type != "cpu":
        widest = torch.float64 if any(part.dtype == torch.float64 for part in like) else torch.float32
        x = x.to(widest).to(like[0].device)
    pieces = x.split([len(part) for part in like])
    return [piece.to(part.device, part.dtype) for piece, part in zip(pieces, like, strict=True)]


def _vector(name: str, v: Any) -> Tensor:
    vector = check_floating(name, v)
    if vector.ndim != 1:
        raise InvalidValueError(f"{name} must be 1-D, got shape {tuple(vector.shape)}")
    return vector
