"""Least squares on moments: the rows of a layer that come nearest to wanted outputs, its zero rows and ties kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from torch_growl.mathematics.clustering import Partition
from torch_growl.networks.layers import rows_of
from torch_growl.networks.moments.moments import Moments, error_of, matrices_of, write_matrices_

__all__ = ["LayerToFit", "fitted"]

Fit = Sequence[tuple[Tensor, Tensor]]  # for every group its matrix and its bias

DAMPINGS = (1e-8, 1e-4, 1e-3, 1e-2, 1e-1)  # of the mean variance of an input


def fitted(
    moments: Moments, labels: Tensor, current: Tensor, *, offset: bool, dampings: Sequence[float] = DAMPINGS
) -> list[tuple[Tensor, Tensor]]:
    """Fit the rows of a layer or of one of its groups: its outputs come near the wanted ones in the mean square.

    With z the values that a layer reads, summed over the members of each group, and y the wanted outputs, it minimises
    E‖z W + b − y‖² + δ‖W − W₀‖², W₀ the rows as they are: what removed and tied inputs carried goes to the rows that
    stay (the surgeon's formula of Hassibi and Stork 1993, for whole rows).

    Args:
        moments: of the layer or the group.
        labels: ``(D,)`` for each value read: the number of its group, −1 for removed ones.
        current: ``(D, outputs)``, the rows as they are; equal within a group.
        offset: whether there is a bias, or a mean that takes its place; otherwise b = 0.
        dampings: δ in units of the mean variance of z.

    Returns:
        For each damping, the rows ``(D, outputs)`` and the bias ``(outputs,)``.
    """
    stays = torch.nonzero(labels >= 0).flatten()
    groups = labels[stays]
    count = int(groups.max()) + 1 if len(groups) else 0
    if not count:
        return [(torch.zeros_like(current), moments.y / moments.count if offset else moments.y * 0.0)] * len(dampings)

    def summed(values: Tensor) -> Tensor:
        return values.new_zeros(count, *values.shape[1:]).index_add_(0, groups, values[stays])

    if offset:
        mean_z, mean_y, zz, zy = moments.centred()
    else:
        mean_z, mean_y, zz, zy = moments.z, moments.y * 0.0, moments.zz / moments.count, moments.zy / moments.count
    zz, zy = summed(summed(zz).t()), summed(zy)
    first = summed(current) / summed(torch.ones_like(labels, dtype=zz.dtype))[:, None]
    scale = float(zz.diagonal().mean()) or 1.0
    found = []
    for damping in dampings:
        damped = zz + damping * scale * torch.eye(count, dtype=zz.dtype, device=zz.device)
        rows = torch.linalg.solve(damped, zy + damping * scale * first)
        matrix = torch.zeros_like(current).index_copy_(0, stays, rows[groups])
        found.append((matrix, mean_y - mean_z @ matrix if offset else mean_y))
    return found


class LayerToFit:
    """A layer with its rows as they are.

    Args:
        network: holds the layer; only :meth:`write_` modifies it.
        name: the layer's.
        norms: for layers without a bias, the batch normalisation whose running mean takes its place.
        dense: the dense network, whose mean a fit starts from; None: that of ``network`` is the same.

    Attributes:
        matrices: the rows of every group, float64, ``(rows · taps, outputs)``.
        offset: whether there is a bias, or a mean that takes its place.
    """

    def __init__(self, network: nn.Module, name: str, norms: Mapping[str, str], dense: nn.Module | None = None) -> None:
        self.module = network.get_submodule(name)
        self._bias = self.module._parameters.get("bias")
        self._norm = network.get_submodule(norms[name]) if self._bias is None and name in norms else None
        self._mean = None if self._norm is None else (dense or network).get_submodule(norms[name]).running_mean
        self.matrices = matrices_of(self.module)
        self.offset = self._bias is not None or self._norm is not None

    def error(self, moments: Sequence[Moments]) -> float:
        """The error with the rows and the bias as they are, or with the mean that takes its place.

        Args:
            moments: of every group.
        """
        biases: Sequence[Tensor | float] = [0.0] * len(moments)
        if self._norm is not None:
            shift = cast(Tensor, self._mean).double() - cast(Tensor, self._norm.running_mean).double()
            biases = shift.chunk(len(moments))
        elif self._bias is not None:
            biases = self._bias.detach().double().chunk(len(moments))
        return error_of(moments, list(zip(self.matrices, biases, strict=True)))

    def fits(self, moments: Sequence[Moments], dampings: Sequence[float] = DAMPINGS) -> list[Fit]:
        """Fit the rows with each damping; zero rows stay zero and bit-equal rows of one group stay bit-equal."""
        rows = rows_of(self.module)
        found = []
        for own, matrix, members in zip(moments, self.matrices, rows.chunk(len(moments)), strict=True):
            partition = torch.tensor(Partition.from_rows(members).labels, device=matrix.device)
            taps = len(matrix) // len(partition)
            inner = torch.arange(taps, device=partition.device).repeat(len(partition))
            labels = partition.repeat_interleave(taps)
            labels = torch.where(labels >= 0, labels * taps + inner, labels)
            found.append(fitted(own, labels, matrix, offset=self.offset, dampings=dampings))
        return list(zip(*found, strict=True))

    @torch.no_grad()
    def write_(self, fit: Fit) -> None:
        """Write a fit into the layer, and what it needs as a bias into the bias or off the running mean."""
        write_matrices_(self.module, [matrix for matrix, _ in fit])
        shift = torch.cat([bias for _, bias in fit])
        if self._bias is not None:
            self._bias.copy_(shift)
        elif self._norm is not None:
            mean = cast(Tensor, self._norm.running_mean)
            mean.copy_(cast(Tensor, self._mean).double() - shift)
