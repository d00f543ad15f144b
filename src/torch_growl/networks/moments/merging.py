"""Rows of one layer tied or removed one after the other, first those that its outputs miss least.

A tie and a removal are both a linear condition A'W = 0 on the rows W: w_i − w_j = 0, or w_i = 0. With C the covariance
of what the layer reads (the uncentred second moments, if there is no bias to take the means) and W the least-squares
rows under the conditions so far, a further one adds

    tr (A'W)' (A' C⁻¹ A)⁻¹ (A'W)

to the mean squared error of the outputs, and W and C⁻¹ under it follow by one projection (Hassibi and Stork 1993, for
linear conditions on whole rows). So rows are alike where little is lost once the others have taken over: because their
weights are alike, because what they read is, or because other rows can make up for the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torch_growl.mathematics.clustering import PRUNED, Partition
from torch_growl.networks.layers import registered_kind
from torch_growl.networks.moments.least_squares import LayerToFit
from torch_growl.networks.moments.moments import Moments

__all__ = ["Reader", "merge_steps", "merged_rows"]

_PART = 16  # a sixteenth of the rows that are left is tied or removed before the costs are computed anew
_LOOKED_AT = 8  # cheapest ones for each that is taken: a row is in one tie at a time
_DAMPING = 1e-4  # of the mean variance of a value


@dataclass(frozen=True)
class Reader:
    """One layer of the dense network: its moments, the wanted outputs being its own, and its rows.

    Attributes:
        moments: of what it reads.
        matrix: ``(rows · taps, outputs)``.
        taps: values that it reads of each row.
        offset: whether there is a bias, or a mean that takes its place.
    """

    moments: Moments
    matrix: Tensor
    taps: int
    offset: bool = True

    @classmethod
    def of(cls, network: nn.Module, name: str, moments: Moments, norms: Mapping[str, str]) -> Reader:
        """Return a layer without groups as a reader of its moments; ``norms`` as for :class:`LayerToFit`."""
        layer = LayerToFit(network, name, norms)
        matrix = layer.matrices[0]
        taps = len(matrix) // registered_kind(layer.module).n_rows(layer.module, "input")
        return cls(moments, matrix, taps, layer.offset)

    def tied(self, same: Partition) -> Reader:
        """Return the reader of the sums over the members of each group; removed rows are left out."""
        labels = torch.tensor(same.labels, device=self.matrix.device)
        inner = torch.arange(self.taps, device=labels.device)
        stays = (torch.nonzero(labels >= 0) * self.taps + inner).flatten()
        groups_of = (labels[labels >= 0][:, None] * self.taps + inner).flatten()

        def summed(values: Tensor) -> Tensor:
            return values.new_zeros(same.n_groups * self.taps, *values.shape[1:]).index_add_(
                0, groups_of, values[stays]
            )

        own = self.moments
        moments = Moments(own.count, summed(own.z), own.y, summed(summed(own.zz).t()), summed(own.zy), own.yy)
        matrix = summed(self.matrix) / summed(torch.ones_like(self.matrix[:, :1]))
        return Reader(moments, matrix, self.taps, self.offset)

    def covariance(self) -> Tensor:
        """The covariance of the values read, uncentred where nothing takes the means, damped to have an inverse."""
        found: Tensor = self.moments.centred()[2] if self.offset else self.moments.zz / self.moments.count
        scale = float(found.diagonal().mean()) or 1.0
        return found + _DAMPING * scale * torch.eye(len(found)).to(found)


def merge_steps(reader: Reader, rows: Sequence[int], least: int, *, removal: bool = True) -> list[tuple[int, int]]:
    """Tie and remove some rows of a layer, one after the other.

    Args:
        reader: the layer.
        rows: those that may be tied to one another or removed; all others take over from them.
        least: the number of values that stay, ≥ 1.
        removal: whether rows may be removed; otherwise they are only tied.

    Returns:
        For every step the row that has no value of its own any more, and the row that it is tied to, together with
        all that were tied to it before; :data:`PRUNED` if it is removed, and they with it.
    """
    state = _Rows(reader.covariance(), reader.matrix, reader.taps, rows)
    found = []
    while (count := len(state.free)) > max(1, least):
        found += state.take(min(max(1, count // _PART), count - max(1, least)), removal)
    return found


def merged_rows(reader: Reader, same: Partition, groups: int) -> Partition:
    """Tie the rows of a layer until a number of groups is left.

    Args:
        reader: the layer.
        same: the partition of its rows; zero rows stay zero and rows of one group stay in one.
        groups: the number of groups, ≥ 1.
    """
    reader, target = reader.tied(same), list(range(same.n_groups))
    state = _Rows(reader.covariance(), reader.matrix, reader.taps, range(same.n_groups))
    while (count := len(state.free)) > groups:
        for row, into in state.take(min(max(1, count // _PART), count - groups), removal=False):
            target[row] = into
    return Partition.from_labels([label if label == PRUNED else _end(target, label) for label in same.labels])


def _end(target: Sequence[int], row: int) -> int:
    while target[row] != row:
        row = target[row]
    return row


class _Rows:
    """The rows that have a value of their own, by least squares under the conditions so far.

    Attributes:
        free: those of them that may be tied or removed.
    """

    def __init__(self, covariance: Tensor, matrix: Tensor, taps: int, free: Sequence[int]) -> None:
        self._taps = taps
        self._inverse = torch.linalg.inv(covariance)
        self._matrix = matrix
        self._numbers = list(range(len(matrix) // taps))  # of the rows that are left
        self.free = list(free)

    def take(self, count: int, removal: bool) -> list[tuple[int, int]]:
        """Tie or remove up to a number of rows, at least one."""
        free = torch.tensor([self._numbers.index(row) for row in self.free], device=self._matrix.device)
        first, second = torch.triu_indices(len(free), len(free), 1, device=free.device)
        square = self._matrix @ self._matrix.t()
        costs = self._costs(square, free[first], free[second])
        if removal:
            costs = torch.cat([self._costs(square, free, None), costs])
        cheapest = torch.topk(costs, min(len(costs), _LOOKED_AT * count), largest=False).indices.tolist()
        alone = len(free) if removal else 0
        taken, found = set[int](), list[tuple[int, int]]()
        for place in cheapest:
            pair = (place,) if place < alone else (int(second[place - alone]), int(first[place - alone]))
            if len(found) < count and taken.isdisjoint(pair):
                taken.update(pair)
                found.append((self.free[pair[0]], PRUNED if len(pair) == 1 else self.free[pair[1]]))
        self._project_(found)
        return found

    def _costs(self, square: Tensor, rows: Tensor, others: Tensor | None) -> Tensor:
        """The error that each removal adds, or each tie of one row to another; ``square`` is WW'."""
        spread = self._differences(self._inverse, rows, others)
        weights = self._differences(square, rows, others)
        if self._taps == 1:
            return (weights / spread).flatten()
        traces: Tensor = torch.linalg.solve(spread, weights).diagonal(dim1=-2, dim2=-1).sum(-1)
        return traces

    def _differences(self, matrix: Tensor, rows: Tensor, others: Tensor | None) -> Tensor:
        """A'XA of a symmetric X for each condition A: ``(conditions, taps, taps)``."""
        count = len(self._numbers)
        blocks = matrix.reshape(count, self._taps, count, self._taps).transpose(1, 2)
        own = blocks[rows, rows]
        if others is None:
            return own
        cross = blocks[rows, others]
        return own + blocks[others, others] - cross - cross.transpose(1, 2)

    def _project_(self, steps: Sequence[tuple[int, int]]) -> None:
        """Impose the conditions of some steps, and leave out the rows that have no value of their own then."""
        place = {row: i for i, row in enumerate(self._numbers)}
        conditions = self._matrix.new_zeros(len(place), self._taps, len(steps), self._taps)
        unit = torch.eye(self._taps).to(conditions)
        for number, (row, into) in enumerate(steps):
            conditions[place[row], :, number] = unit
            if into != PRUNED:
                conditions[place[into], :, number] = -unit
        A = conditions.flatten(2).flatten(0, 1)
        spread = self._inverse @ A
        inner = A.t() @ spread
        self._matrix = self._matrix - spread @ torch.linalg.solve(inner, A.t() @ self._matrix)
        inverse = self._inverse - spread @ torch.linalg.solve(inner, spread.t())
        gone = {row for row, _ in steps}
        stays = torch.tensor([place[row] for row in self._numbers if row not in gone], device=A.device)
        values = (stays[:, None] * self._taps + torch.arange(self._taps, device=A.device)).flatten()
        self._matrix, inverse = self._matrix[values], inverse[values][:, values]
        self._inverse = (inverse + inverse.t()) / 2
        self._numbers = [row for row in self._numbers if row not in gone]
        self.free = [row for row in self.free if row not in gone]
