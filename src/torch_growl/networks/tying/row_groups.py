"""The groups of one layer's rows, set to their means in place; only rows that share a value are read and written.

Sums are taken of the differences from the first row of each group, so rows that are equal already stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torch_growl.mathematics.clustering import PRUNED, Partition
from torch_growl.networks.layers import Side, row_blocks

__all__ = ["RowGroups"]


class RowGroups:
    """The groups of several rows of one layer.

    Args:
        partition: of the layer's rows; rows that are pruned or alone in their group are left out.

    Attributes:
        members: the rows of all groups, increasing, ``(n,)`` int64 on the CPU.
        labels: for every row of the layer the first row that has its value, ``(n_rows,)`` int64.
    """

    def __init__(self, partition: Partition) -> None:
        labels = partition.tensor()
        sizes = torch.tensor([*partition.sizes, 0])  # label −1 is the last one
        self.members = (sizes[labels] > 1).nonzero().squeeze(1)
        groups, self._of = labels[self.members].unique(return_inverse=True)
        self._sizes = sizes[groups].double().unsqueeze(1)
        places = torch.arange(len(self.members))
        self._first = torch.full((len(groups),), len(places)).scatter_reduce_(0, self._of, places, "amin")
        self.labels = torch.arange(len(labels))
        self.labels[self.members] = self.members[self._first[self._of]]
        self._moved: dict[torch.device, tuple[Tensor, ...]] = {}

    def __len__(self) -> int:
        return len(self._first)

    def without(self, rows: Tensor) -> RowGroups:
        """Return the groups that are left without some rows.

        Args:
            rows: flags, ``(n_rows,)`` bool on the CPU.
        """
        return RowGroups(Partition.from_labels(self.labels.masked_fill(rows, PRUNED)))

    def distinct(self, rows: Tensor) -> int:
        """Count the values that some rows have, given as flags, ``(n_rows,)`` bool."""
        return len(self.labels[rows.cpu()].unique())

    def means(self, rows: Tensor) -> Tensor:
        """Return for every member the mean of its group.

        Args:
            rows: the members' rows, ``(n, row_length)``; not modified.
        """
        of, first, sizes = self._on(rows.device)[1:]
        wide = rows.double()
        mean = wide[first]
        off = torch.zeros_like(mean).index_add_(0, of, wide - mean[of])
        return (mean + off / sizes).to(rows.dtype)[of]

    @torch.no_grad()
    def average_(self, module: nn.Module, side: Side = "input", weight: Tensor | None = None) -> None:
        """Set the rows of every group to their mean; rows that become equal are so to the bit.

        Args:
            module: the layer, whose weight is whole; its weight is modified.
            side: which side's rows.
            weight: another tensor of the weight's shape to change instead.
        """
        if len(self):
            blocks = row_blocks(module, side, weight)
            members = self._on(blocks.device)[0]
            place = (members // blocks.shape[1], members % blocks.shape[1])
            rows = blocks[place]
            blocks[place] = self.means(rows.reshape(len(members), -1)).reshape(rows.shape)

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._moved:
            parts = (self.members, self._of, self._first, self._sizes)
            self._moved[device] = tuple(part.to(device) for part in parts)
        return self._moved[device]
