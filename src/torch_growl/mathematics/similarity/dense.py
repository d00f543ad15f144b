"""The similarity of all pairs of rows, by which GrOWL's groups are found.

``S(i, j) = ⟨w_i, w_j⟩ / max(‖w_i‖², ‖w_j‖²)`` (Zhang et al., ICLR 2018, section 4): 1 for equal rows, and at most the
smaller norm over the larger, so rows of one direction but different norms are not similar.
:func:`torch_growl.cluster_rows` uses the same similarity without holding the n² numbers:
:mod:`torch_growl.mathematics.similarity.sparse`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_growl.arguments import check_finite, check_rows

__all__ = ["as_matrix", "row_similarity", "to_unit_size"]

_BLOCK = 1024  # rows at a time: the temporaries stay small beside the result


@torch.no_grad()
def row_similarity(W: Tensor) -> Tensor:
    """Return the similarity of every pair of rows, ``S(i, j) = ⟨w_i, w_j⟩ / max(‖w_i‖², ‖w_j‖²)``.

    Computed in float64 for every type of W, on rows that are each scaled by a power of two, so that squares neither
    overflow nor vanish. Not differentiable.

    Args:
        W: ``(n_rows, …)``, two dimensions or more, rows along dim 0; any real floating type; not modified.

    Returns:
        ``(n_rows, n_rows)`` float64 on W's device, exactly symmetric, within [−1, 1]; the diagonal is exactly 1, except
        that rows and columns of all-zero rows are exactly 0 throughout.

    Raises:
        InvalidTypeError: not a floating-point tensor.
        InvalidValueError: fewer than two dimensions, or NaN or infinite values.

    Example:
        >>> import torch, torch_growl as tg
        >>> tg.row_similarity(torch.tensor([[3.0, 4.0], [4.0, 3.0], [1.5, 2.0]]))
        tensor([[1.0000, 0.9600, 0.5000],
                [0.9600, 1.0000, 0.4800],
                [0.5000, 0.4800, 1.0000]], dtype=torch.float64)
    """
    rows = as_matrix(W).to(torch.float64)
    n = rows.shape[0]
    S = rows.new_empty((n, n))
    if rows.numel() == 0:
        return S.zero_()
    U, e, nonzero = to_unit_size(rows)
    inverse = 1 / torch.where(nonzero, U.square().sum(dim=1), 1.0)
    for start in range(0, n, _BLOCK):
        mine, rest = slice(start, start + _BLOCK), slice(start, n)
        ratio = torch.pow(2.0, e[rest].unsqueeze(0) - e[mine].unsqueeze(1))  # 2^(e_j − e_i)
        # ⟨w_i, w_j⟩ = 2^(e_i + e_j) ⟨u_i, u_j⟩, and 1/max(a, b) = min(1/a, 1/b)
        share = torch.minimum(inverse[mine].unsqueeze(1) * ratio, inverse[rest].unsqueeze(0) / ratio)
        block = (U[mine] @ U[rest].T).mul_(share).clamp_(-1.0, 1.0)
        square = block[:, : block.shape[0]]
        block[:, : block.shape[0]] = (square + square.T) / 2
        S[mine, rest] = block
        S[rest, mine] = block.T
    S.fill_diagonal_(1.0)
    S[~nonzero, :] = 0.0
    S[:, ~nonzero] = 0.0
    return S


def to_unit_size(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale every row by a power of two to a largest magnitude in [½, 1), so that no square overflows or vanishes.

    Args:
        rows: ``(n_rows, row_length)`` float64, finite; not modified.

    Returns:
        ``u_i = 2^−e_i w_i``, exact; the exponents ``e``, ``(n_rows,)`` float64; which rows are not all zero.
    """
    largest = rows.abs().amax(dim=1) if rows.shape[1] else rows.new_zeros(len(rows))
    e = torch.frexp(largest).exponent.to(torch.float64)
    half = torch.floor(e / 2)  # in two steps, because 2^−e itself may not be a float64
    U = rows * torch.pow(2.0, -half).unsqueeze(1) * torch.pow(2.0, half - e).unsqueeze(1)
    return U, e, largest > 0


def as_matrix(W: Tensor) -> Tensor:
    """Check W and return it as a matrix ``(n_rows, row_length)`` of its own type.

    Raises:
        InvalidTypeError, InvalidValueError: as for :func:`row_similarity`.
    """
    return check_finite("W", check_rows("W", W).detach().flatten(1))
