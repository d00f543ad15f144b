"""The order in which alike channels go: first those whose absence costs least, once the others have taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from torch_growl.networks.moments import Reader
from torch_growl.networks.shrinking.channels import Alike

__all__ = ["ranked"]

_STEPS = 8  # times that the costs are computed anew while channels go


def ranked(alike: Alike, readers: Mapping[str, Reader], gone: Sequence[int] = ()) -> list[int]:
    """Return all channels but one in the order in which they are removed.

    The cost of a channel is the error that its removal leaves in its readers' outputs after least squares, as a share
    of their variance: for the values B of one channel and the covariance C of all that are left, it is
    tr(W_B' ((C⁻¹)_BB)⁻¹ W_B) with W the rows as the removals before have left them (Hassibi and Stork 1993). Of a
    reader that has no bias, C is uncentred, and the share is that of the mean square.

    Args:
        alike: the channels.
        readers: the layers that have moments, by name; others that read the channels count for nothing.
        gone: channels that are removed already; they come first.
    """
    states = [_State(alike, name, readers[name]) for name in alike.readers if name in readers]
    order = list(gone)
    left = [channel for channel in range(len(alike)) if channel not in order]
    step = max(1, len(alike) // _STEPS)
    while len(left) > 1:
        costs = torch.stack([state.costs(order, left) for state in states]).sum(0)
        first = torch.argsort(costs, stable=True).tolist()
        order += [left[i] for i in first[: min(step, len(left) - 1)]]
        left = [channel for channel in left if channel not in order]
    return order


class _State:
    """One reader's covariance and rows, and the values that it reads of each channel."""

    def __init__(self, alike: Alike, name: str, reader: Reader) -> None:
        self.covariance = covariance = reader.covariance()
        self.matrix = reader.matrix
        self.variance = float(((covariance @ reader.matrix) * reader.matrix).sum()) or 1.0
        inner = torch.arange(reader.taps)
        self.values = [
            (torch.from_numpy(rows[name])[:, None] * reader.taps + inner).flatten().to(covariance.device)
            for rows in alike.rows
        ]

    def costs(self, gone: Sequence[int], left: Sequence[int]) -> Tensor:
        """The error that the removal of each channel of ``left`` adds, as a share of the outputs' variance."""
        stays = torch.ones(len(self.matrix), dtype=torch.bool, device=self.matrix.device)
        for channel in gone:
            stays[self.values[channel]] = False
        kept = torch.nonzero(stays).flatten()
        place = torch.cumsum(stays, 0) - 1
        inverse = torch.linalg.inv(self.covariance[kept][:, kept])
        matrix = inverse @ (self.covariance[kept] @ self.matrix)
        costs = []
        for channel in left:
            own = place[self.values[channel]]
            rows = matrix[own]
            costs.append((torch.linalg.solve(inverse[own][:, own], rows) * rows).sum() / self.variance)
        return torch.stack(costs).cpu()
