"""Sums over the parts of sharded tensors: all that is asked for at one moment is sent in one collective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from torch_growl.networks.sharding.shards import Shard

__all__ = ["Part", "Pending", "Rate", "as_first_", "differentiable_norms", "on_several_processes", "part_of", "summed"]


def on_several_processes() -> bool:
    """Tell whether this process is one of several of torch.distributed."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.no_grad()
def as_first_(*tensors: Tensor) -> None:
    """Give tensors the values that they have on the first process; of several processes, all must call this.

    Args:
        tensors: on every process as many, of the same shapes; modified in place.
    """
    if on_several_processes():
        for tensor in tensors:
            own = tensor.detach().contiguous()
            dist.broadcast(own, 0)
            tensor.copy_(own)


@dataclass(frozen=True)
class Part:
    """One process's share of a sum.

    Attributes:
        values: float64, one dimension, as many on every process.
        mesh: the mesh of processes; None: nothing has to be added.
        dims: its dimensions to add over.
        counts: whether this process counts among those that have the same share.
    """

    values: Tensor
    mesh: Any = None
    dims: tuple[int, ...] = ()
    counts: bool = True


def part_of(shard: Shard, values: Tensor) -> Part:
    """The share of a sum over all parts of a sharded weight."""
    return Part(values, shard.mesh, shard.layout.dims, shard.layout.counts)


class Pending:
    """A number that is known once its shares are added up over processes.

    Args:
        parts: the shares.
        finish: computes the number from the sums.
        factor: what it is multiplied by.
    """

    def __init__(
        self, parts: Sequence[Part], finish: Callable[[Sequence[Tensor]], float | Tensor], factor: float = 1.0
    ) -> None:
        self.parts, self._finish, self._factor = list(parts), finish, factor

    def __mul__(self, factor: float) -> Pending:
        return Pending(self.parts, self._finish, self._factor * factor)

    def value(self, sums: Sequence[Tensor]) -> float:
        """The number, with what :func:`summed` gave for the parts."""
        return float(self._finish(sums)) * self._factor


Rate = float | Tensor | Pending  # a learning rate


@torch.no_grad()
def summed(parts: Sequence[Part]) -> list[Tensor]:
    """Add up shares over processes; every process gets the same bits.

    All processes must call this with shares of the same tensors. One ``all_reduce`` is made of all shares together,
    none if no share is spread over processes. It takes one for each group of processes if none of several groups'
    meshes covers all processes, as in one stage of a pipeline.

    Returns:
        For each part its sum, on the device of its values.
    """
    groups: dict[Any, list[int]] = {}  # by the group of processes, the parts to add up over it
    for i, part in enumerate(parts):
        for k in part.dims:
            groups.setdefault(part.mesh.get_group(k), []).append(i)
    found = [part.values for part in parts]
    if not groups:
        return found
    spread = [i for i, part in enumerate(parts) if part.dims]
    kind = parts[spread[0]].mesh.device_type
    if len(groups) > 1 and any(parts[i].mesh.size() == dist.get_world_size() for i in spread):
        # every process has every layer: of those with the same share, one counts
        own = [found[i] if _is_first(parts[i]) else torch.zeros_like(found[i]) for i in spread]
        return _reduced(found, spread, own, kind, None)
    for group, among in groups.items():
        found = _reduced(found, among, [found[i] for i in among], kind, group)
    return found


def _is_first(part: Part) -> bool:
    """Tell whether this process is the first one with this share; a mesh may leave out processes that repeat it."""
    return part.counts and int(part.mesh.mesh.min()) == 0


def _reduced(found: list[Tensor], places: list[int], values: list[Tensor], kind: str, group: Any) -> list[Tensor]:
    together = torch.cat([each.to(kind) for each in values])
    dist.all_reduce(together, group=group)
    sums = together.split([len(each) for each in values])
    changed = dict(zip(places, sums, strict=True))
    return [changed[i].to(each.device) if i in changed else each for i, each in enumerate(found)]


class _Norms(torch.autograd.Function):
    """The ℓ2 norm of every row of a sharded weight; each process gets the gradient of its own part."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, shard: Shard) -> Tensor:
        norms = summed([part_of(shard, shard.squares())])[0].sqrt().to(local.dtype)
        ctx.numbers = shard.layout.numbers.to(local.device)
        ctx.save_for_backward(local, norms)
        return norms

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        local, norms = ctx.saved_tensors
        share = torch.where(norms > 0, gradients[0] / norms, 0.0)  # the subgradient of a zero row is 0
        return local * share[ctx.numbers], None


def differentiable_norms(shard: Shard, weight: Tensor) -> Tensor:
    """The ℓ2 norm of every row, ``(n_rows,)``, with a gradient for the DTensor that the part is of."""
    return cast(Tensor, cast(Any, _Norms).apply(cast(Any, weight).to_local(), shard))
