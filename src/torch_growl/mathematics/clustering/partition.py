"""The partition of one layer's rows into pruned rows and groups: labels, sizes, and whether a matrix satisfies it.

A group is a set of rows with one common value; the label −1 is that of a pruned (all-zero) row. A row alone in its
group is untied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_growl.errors import InvalidValueError

__all__ = ["PRUNED", "Partition", "first_rows", "row_codes"]

PRUNED = -1


@dataclass(frozen=True)
class Partition:
    """A partition of one layer's rows into pruned rows and groups of rows that share one value.

    Args:
        labels: one integer per row: −1 for a pruned row, else the row's group. Any non-negative integers are accepted
            and renumbered 0, 1, … in order of first appearance, so equal partitions compare equal.

    Raises:
        InvalidValueError: a label is below −1.

    Example:
        >>> import torch, torch_growl as tg
        >>> found = tg.Partition.from_rows(torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0], [1.0, 2.0]]))
        >>> found.labels, found.n_groups, found.sizes
        ((0, -1, 1, 0), 2, (2, 1))
        >>> found == tg.Partition((7, -1, 3, 7))
        True
    """

    labels: tuple[int, ...]
    n_groups: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        seen: dict[int, int] = {}
        fresh = []
        for row, label in enumerate(self.labels):
            if label < PRUNED:
                raise InvalidValueError(f"labels must be −1 (pruned) or a group ≥ 0; row {row} has {label}")
            fresh.append(PRUNED if label == PRUNED else seen.setdefault(int(label), len(seen)))
        object.__setattr__(self, "labels", tuple(fresh))
        object.__setattr__(self, "n_groups", len(seen))

    @classmethod
    def from_labels(cls, labels: Tensor | Iterable[int]) -> Partition:
        """Make a partition from labels in a 1-D integer tensor or any iterable of integers."""
        return cls(tuple(labels.tolist()) if isinstance(labels, Tensor) else tuple(int(label) for label in labels))

    @classmethod
    def from_rows(cls, W: Tensor) -> Partition:
        """Find the partition of a matrix: all-zero rows are pruned, bit-equal rows are one group.

        Args:
            W: ``(n_rows, row_length)``, any floating type; not modified. −0.0 and 0.0 count as the same value.

        Raises:
            InvalidValueError: ``W`` is not 2-D.
        """
        if W.ndim != 2:
            raise InvalidValueError(f"rows must be a 2-D matrix (n_rows, row_length), got shape {tuple(W.shape)}")
        W = W.detach()
        W = W + torch.zeros((), dtype=W.dtype, device=W.device)  # −0.0 becomes 0.0, all else is unchanged
        zero = (W == 0).all(dim=1)
        _, inverse = torch.unique(row_codes(W), return_inverse=True)
        found = cls.from_labels(torch.where(zero, PRUNED, inverse))
        if not found.holds(W):  # two different rows with one code: compare the rows themselves
            _, inverse = torch.unique(W, dim=0, return_inverse=True)
            found = cls.from_labels(torch.where(zero, PRUNED, inverse))
        return found

    @property
    def n_rows(self) -> int:
        """The number of rows, pruned ones included."""
        return len(self.labels)

    @property
    def nonzero(self) -> int:
        """The number of rows that are not pruned."""
        return sum(label != PRUNED for label in self.labels)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of rows in each group."""
        counts = [0] * self.n_groups
        for label in self.labels:
            if label != PRUNED:
                counts[label] += 1
        return tuple(counts)

    @property
    def is_trivial(self) -> bool:
        """True if no row is pruned and no rows are tied."""
        return self.n_groups == self.n_rows

    def tensor(self, device: torch.device | str | None = None) -> Tensor:
        """Return the labels as a 1-D int64 tensor."""
        return torch.tensor(self.labels, dtype=torch.int64, device=device)

    def holds(self, W: Tensor) -> bool:
        """Return whether the pruned rows of ``W`` are exactly zero and the rows of every group are equal.

        Rows of different groups may be equal too.

        Args:
            W: ``(n_rows, row_length)``; not modified.
        """
        if W.ndim != 2 or W.shape[0] != self.n_rows:
            return False
        W = W.detach()
        labels = self.tensor(W.device)
        if bool((W[labels == PRUNED] != 0).any()):
            return False
        alive = (labels != PRUNED).nonzero().flatten()
        first = torch.full((self.n_groups,), self.n_rows, dtype=torch.int64, device=W.device)
        first.scatter_reduce_(0, labels[alive], alive, reduce="amin")
        return bool((W[alive] == W[first[labels[alive]]]).all())


def first_rows(partition: Partition) -> NDArray[np.int64]:
    """Index the first row of every group, ``(n_groups,)``, in the groups' order, which is that of the rows."""
    found: dict[int, int] = {}
    for row, label in enumerate(partition.labels):
        found.setdefault(label, row)
    found.pop(PRUNED, None)
    return np.fromiter(found.values(), np.int64, len(found))


def row_codes(W: Tensor) -> Tensor:
    """Map every row to an int64 that is equal for bit-equal rows: a random sum of its bits, exact in wrapping integers.

    Args:
        W: ``(n_rows, row_length)``, any floating type; −0.0 and 0.0 differ here.

    Returns:
        ``(n_rows,)``. It depends on a row's content alone. Different rows nearly always have different codes.
    """
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[W.element_size()]
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (W.shape[1],), generator=generator).to(W.device) * 2 + 1
    codes: Tensor = (W.contiguous().view(integers).to(torch.int64) * factors).sum(dim=1)
    return codes
