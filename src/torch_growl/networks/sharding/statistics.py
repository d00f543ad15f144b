"""Means and norms of an optimizer's state that is sharded, as the formulas of step lengths ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from torch_growl.networks.sharding.exchange import Part, Pending
from torch_growl.networks.sharding.shards import is_sharded, local_of

__all__ = ["ShardedStatistic", "part_of_whole", "pending_length"]


class ShardedStatistic:
    """Stands for a sharded tensor in a formula: notes which sums the formula asks for, then has them.

    Args:
        tensor: a DTensor.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self.wanted: dict[str, Part] = {}
        self.sums: dict[str, Tensor] = {}

    @property
    def shape(self) -> torch.Size:
        """The shape of the whole tensor."""
        return self._tensor.shape

    def detach(self) -> ShardedStatistic:
        """The tensor itself: sums are taken without gradients."""
        return self

    def numel(self) -> int:
        """The number of elements of the whole tensor."""
        return self._tensor.numel()

    def dequantize(self) -> ShardedStatistic:
        """The tensor itself: its parts are read as plain numbers."""
        return self

    def mean(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The mean of the whole tensor."""
        return (self._sum("elements") / max(1, self.numel())).to(dtype)

    def norm(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The ℓ2 norm of the whole tensor."""
        return self._sum("squares").sqrt().to(dtype)

    @torch.no_grad()
    def _sum(self, of: str) -> Tensor:
        if of in self.sums:
            return self.sums[of]
        if of not in self.wanted:
            local: Any = local_of(self._tensor)
            plain = local if type(local) in (Tensor, torch.nn.Parameter) else local.dequantize()
            total = plain.sum(dtype=torch.float64)
            if of == "squares":
                total = torch.linalg.vector_norm(plain, dtype=torch.float64).square()
            self.wanted[of] = part_of_whole(self._tensor, total.reshape(1))
        return torch.ones((), dtype=torch.float64)


def part_of_whole(tensor: Tensor, values: Tensor) -> Part:
    """The share of a sum over all elements of a DTensor."""
    mesh, placements = cast(Any, tensor).device_mesh, cast(Any, tensor).placements
    dims = tuple(k for k, p in enumerate(placements) if not p.is_replicate() and mesh.size(k) > 1)
    coordinate = mesh.get_coordinate()
    return Part(values, mesh, dims, all(at == 0 for k, at in enumerate(coordinate) if k not in dims))


def pending_length(
    formula: Callable[[dict[str, Any], dict[str, Any], Tensor], float | Tensor],
    group: dict[str, Any],
    state: Mapping[str, Any],
    weight: Tensor,
) -> Pending:
    """The length of an optimizer's step for a sharded weight; the sums that its formula needs are not added up yet.

    Args:
        formula: of :mod:`torch_growl.networks.optimizers.formulas`; it may take means and norms of tensors.
        group: the optimizer's.
        state: the optimizer's for this weight; its DTensors are replaced.
        weight: a DTensor.
    """
    stands: dict[str, Any] = {
        key: ShardedStatistic(value) if is_sharded(value) else value for key, value in state.items()
    }
    stand = cast(Tensor, ShardedStatistic(weight))
    formula(group, stands, stand)
    every = [each for each in (*stands.values(), stand) if isinstance(each, ShardedStatistic)]
    asked = [(each, of) for each in every for of in each.wanted]

    def finish(sums: Sequence[Tensor]) -> float | Tensor:
        for (each, of), total in zip(asked, sums, strict=True):
            each.sums[of] = total[0]
        return formula(group, stands, stand)

    return Pending([each.wanted[of] for each, of in asked], finish)
