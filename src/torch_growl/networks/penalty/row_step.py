"""The proximal step of GrOWL on the rows of many layers, in two passes over their memory.

Weights that are dense in the CPU's memory, as float32 or float64, are handled by compiled code, all layers in one call:
one pass reads them for the norms, one reads, scales and writes them. All others (other devices, other types) are read
and scaled by torch, layer by layer, with one copy of all their norms to the CPU and one of all scales back. Memory
beyond the weights grows with the number of rows only.

Of a weight that is spread over processes (FSDP2, tensor parallel), each process reads and scales its own part. Sums of
squares are added up over processes in between, one number for each row, and each process then computes the same scales.

A step shrinks a row by less than the distance between neighbouring bfloat16 or float16 numbers. In these types a factor
is owed to every row: factors are multiplied up, and applied once they are larger than that distance. What rounding then
leaves over stays owed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.mathematics.compiled import run_all
from torch_growl.networks.layers import row_norms, rows_of, scale_rows_, shard_rows
from torch_growl.networks.penalty.step_layers import StepLayers
from torch_growl.networks.penalty.weight_memory import Part, dense_layout, parts_of
from torch_growl.networks.sharding import Pending, Rate, Shard, local_of, part_of, summed

__all__ = ["RowStep"]

_HALF = (torch.bfloat16, torch.float16)
_THREADS_FROM = 1 << 20  # weights; for fewer one thread is faster


class RowStep:
    """The proximal step that reports at once, for any devices and types of weights.

    Implements :class:`torch_growl.networks.penalty.step_layers.ProximalStep`.

    Args:
        layers: what to shrink.
        pruned: for each layer which rows are pruned from the start, ``(n_rows,)`` bool.
    """

    def __init__(self, layers: StepLayers, pruned: Sequence[Tensor]) -> None:
        self.layers = layers
        lams = layers.lams
        self._offsets = np.array(layers.offsets, dtype=np.int64)
        lam = torch.cat(list(lams)).numpy()
        self._of_rows = np.stack([np.zeros_like(lam), lam, np.zeros_like(lam)])  # norms, λ, scales
        self._pruned = torch.cat([rows.cpu() for rows in pruned]).numpy()
        self._longest = max(map(len, lams))
        self._before = np.concatenate([np.arange(len(lam), dtype=np.int32) for lam in lams])
        self._floored = np.zeros(len(layers), dtype=np.bool_)
        self._owed = np.ones(len(lam))  # of rows in half precision, see the module
        self._rates = np.zeros(len(layers))
        self._seen: list[Any] = [None] * len(layers)
        self._dense: list[Part | None] = [None] * len(layers)
        self._shards: dict[int, Shard] = {}
        self._cut()

    def __getstate__(self) -> dict[str, Any]:
        """A copy must look up its own weights' addresses."""
        return {**self.__dict__, "_seen": [None] * len(self._seen), "_shards": {}}

    def pruned(self, layer: int) -> Tensor:
        """The pruned rows of a layer, ``(n_rows,)`` bool on the CPU; writing to it changes the state."""
        return torch.from_numpy(self._pruned[self.layers.rows(layer)])

    def owed(self, layer: int) -> Tensor:
        """The factors owed to a layer's rows, ``(n_rows,)`` float64 on the CPU; writing to it changes the state."""
        return torch.from_numpy(self._owed[self.layers.rows(layer)])

    def __call__(self, lrs: Sequence[Rate], strengths: Sequence[float], scale_free: bool) -> list[str]:
        """Shrink the rows; all checks are made at once.

        Returns:
            The layers that ``min_rows`` kept from being emptied.

        Raises:
            LayerError: a weight has NaN or infinite values, or is not what it was; nothing was changed.
            InvalidValueError: a learning rate is negative or not finite; nothing was changed.
        """
        weights = self._look()
        in_parts = bool(self._others or self._shards or self._threads())
        if in_parts:
            lrs = self._measure(weights, lrs)
        rates = [float(cast(float, lr)) * strength for lr, strength in zip(lrs, strengths, strict=True)]
        for i, (name, lr, rate) in enumerate(zip(self.layers.names, lrs, rates, strict=True)):
            if not 0.0 <= rate < math.inf:
                self._refuse(i, row_norms(self.layers.modules[i], self.layers.side).cpu().numpy())
                found = float(cast(float, lr))
                raise InvalidValueError(f"layer {name!r}: the learning rate must be finite and ≥ 0, got {found}")
        self._rates[:] = rates
        outcome = self._in_parts(scale_free, weights) if in_parts else self._whole(scale_free)
        if outcome >= 0:
            self._refuse(outcome, self._of_rows[0, self.layers.rows(outcome)])
        torch.autograd.graph.increment_version(weights)  # autograd must know that they were written to
        return [] if outcome == _kernels().DONE else [self.layers.names[i] for i in np.flatnonzero(self._floored)]

    def _refuse(self, layer: int, norms: NDArray[Any]) -> None:
        """Raise an error if norms of a layer's rows are not finite; a gradient with NaN has made its weights so."""
        if broken := int((~np.isfinite(norms)).sum()):
            raise LayerError(
                f"layer {self.layers.names[layer]!r} has NaN or infinite weights in {broken} of its {len(norms)} rows; "
                "nothing was changed: check the data and the gradients, or lower the learning rate or the strength"
            )

    def _whole(self, scale_free: bool) -> int:
        """The step of one thread on weights in the CPU's memory: one compiled call."""
        kernels = _kernels()
        return kernels.whole_step(  # type: ignore[no-any-return]
            self._parts,
            self._sums,
            self._offsets,
            self._of_rows,
            self._rates,
            scale_free,
            self.layers.min_rows,
            self._pruned,
            self._before,
            self._floored,
            kernels.workspace.of(self._longest),
        )

    def _measure(self, weights: list[Tensor], lrs: Sequence[Rate]) -> list[Rate]:
        """Compute the norms of all rows; returns the learning rates, with those that needed sums over processes."""
        kernels, norms = _kernels(), self._of_rows[0]
        run_all(lambda share: kernels.squares(share, self._sums), self._threads() or [self._parts])
        kernels.combine(self._parts, self._sums, norms)
        if self._others:
            self._read(norms, weights)
        return self._add_up(norms, self._shards, lrs)

    def _add_up(self, norms: NDArray[np.float64], layers: Iterable[int], lrs: Sequence[Rate]) -> list[Rate]:
        """Make the norms of the parts of sharded rows those of whole rows, in one exchange with the learning rates."""
        sharded, pending = list(layers), [lr for lr in lrs if isinstance(lr, Pending)]
        parts = [part_of(self._shards[i], torch.from_numpy(np.square(norms[self.layers.rows(i)]))) for i in sharded] + [
            part for lr in pending for part in lr.parts
        ]
        sums = iter(summed(parts))
        for i in sharded:
            norms[self.layers.rows(i)] = next(sums).sqrt().numpy()
        return [lr.value([next(sums) for _ in lr.parts]) if isinstance(lr, Pending) else lr for lr in lrs]

    def _in_parts(self, scale_free: bool, weights: list[Tensor]) -> int:
        """The step of several threads, or with weights that torch reads and scales; the results are the same."""
        kernels = _kernels()
        norms, lam, scale = self._of_rows
        if self._others:
            norms *= self._owed
            before = norms.copy()
        found: int = kernels.shrink(
            norms,
            lam,
            self._offsets,
            self._rates,
            scale_free,
            self.layers.min_rows,
            self._pruned,
            self._before,
            scale,
            self._floored,
            kernels.workspace.of(self._longest),
        )
        if found < 0:
            if self._others:
                self._owe(before, scale, weights)
            else:
                self._scale(scale, weights)
        return found

    def _owe(self, norms: NDArray[np.float64], scale: NDArray[np.float64], weights: list[Tensor]) -> None:
        """Scale the rows, in half precision only those whose factors are large enough, and note what is owed."""
        half = [i for i in self._others if weights[i].dtype in _HALF]
        for i in half:
            mine = self.layers.rows(i)
            norms[mine] *= scale[mine]  # what they should be
            self._owed[mine] *= scale[mine]
            due = (np.abs(self._owed[mine] - 1) >= torch.finfo(weights[i].dtype).eps) | (scale[mine] == 0)
            scale[mine] = np.where(due, self._owed[mine], 1.0)
        self._scale(scale, weights)
        if scaled := [i for i in half if (scale[self.layers.rows(i)] != 1).any()]:
            found = np.empty_like(norms)
            self._read(found, weights, scaled)
            self._add_up(found, [i for i in scaled if i in self._shards], ())
            for i in scaled:
                mine = self.layers.rows(i)
                there = (found[mine] > 0) & (norms[mine] > 0)
                self._owed[mine] = np.where(there, norms[mine] / np.where(there, found[mine], 1.0), 1.0)

    def _threads(self) -> list[NDArray[np.int64]]:
        """The parts divided among torch's threads; empty if one thread is enough."""
        number = torch.get_num_threads()
        if number == 1 or self._weights_up_to[-1] < _THREADS_FROM:
            return []
        ends = np.searchsorted(self._weights_up_to, self._weights_up_to[-1] * np.arange(1, number) / number)
        return [share for share in np.split(self._parts, ends) if len(share)]

    def check(self) -> list[str]:
        """Report nothing: every step has reported already."""
        return []

    def zero_pruned(self) -> None:
        """Set pruned rows to zero again."""
        if self._pruned.any():
            weights = self._look()
            self._scale((~self._pruned).astype(np.float64), weights)
            torch.autograd.graph.increment_version(weights)

    def _look(self) -> list[Tensor]:
        """The weights; if one has moved, its line of the table of parts is rewritten."""
        whole = [cast(Tensor, module._parameters.get("weight")) for module in self.layers.modules]
        weights = [local_of(weight) for weight in whole]
        lines: dict[int, Part | None] = {}
        for i, weight in enumerate(weights):
            seen = self._seen[i]
            if (
                seen is None
                or weight is not seen[0]
                or weight.data_ptr() != seen[1]
                or weight.stride() != seen[2]
                or weight.dtype != seen[3]
                or weight.shape != seen[4]
                or weight.untyped_storage().nbytes() != seen[5]
            ):
                self.layers.plain_weight(i)
                self._shards.pop(i, None)
                shard = shard_rows(self.layers.modules[i], self.layers.side, whole[i])
                if shard is not None:
                    self._shards[i] = shard
                if weight.is_meta:
                    raise LayerError(f"layer {self.layers.names[i]!r}: its weight was moved to the meta device")
                plain = weight.is_cpu and type(weight) in (Tensor, nn.Parameter) and weight.layout == torch.strided
                plain &= shard is None or shard.layout.start is not None
                lines[i] = dense_layout(self.layers.modules[i], weight, self.layers.side) if plain else None
        moved = any(line != self._dense[i] for i, line in lines.items())
        for i, line in lines.items():
            weight = weights[i]
            self._dense[i] = line
            if weight.dtype not in _HALF:
                self._owed[self.layers.rows(i)] = 1.0
            self._seen[i] = _memory(weight) if line else None
        if moved:
            self._cut()
        return weights

    def _cut(self) -> None:
        """Write the table of parts; torch reads and scales the layers that are not in it."""
        self._others = [i for i, whole in enumerate(self._dense) if whole is None]
        lines: list[Part] = []
        at = 0
        for i, (lo, whole) in enumerate(zip(self._offsets, self._dense, strict=False)):
            lo += self._shards[i].layout.start or 0 if i in self._shards else 0
            for part, first in parts_of(whole) if whole else ():
                lines.append((*part, int(lo) + first, at))
                at += part[2] * part[4]
        self._parts = np.array(lines, dtype=np.int64).reshape(-1, 8)
        self._sums = np.empty(at)
        self._weights_up_to = np.cumsum(self._parts[:, 2:6].prod(axis=1)) if lines else np.zeros(1, np.int64)

    @torch.no_grad()
    def _read(self, norms: NDArray[np.float64], weights: list[Tensor], only: list[int] | None = None) -> None:
        """Fill in the norms that torch computes, with one copy from each device; of some layers only."""
        side = self.layers.side
        for layers in self._by_device(weights, only).values():
            found = torch.cat([self._norms(i) for i in layers]).cpu().double().numpy()
            for i, mine in zip(layers, _split(found, self._offsets, layers), strict=True):
                # in float32 the squares of a row may have overflowed or vanished
                doubtful = ~np.isfinite(mine) | ((mine == 0) & ~self._pruned[self.layers.rows(i)])
                if doubtful.any() and i not in self._shards:
                    rows = rows_of(self.layers.modules[i], side)[torch.from_numpy(doubtful).to(weights[i].device)]
                    mine[doubtful] = rows.cpu().double().norm(dim=1).numpy()
                norms[self.layers.rows(i)] = mine

    def _norms(self, layer: int) -> Tensor:
        """The norms that torch computes, ``(n_rows,)``; of a sharded weight those of the part here."""
        if layer in self._shards:
            return self._shards[layer].squares().sqrt()
        return row_norms(self.layers.modules[layer], self.layers.side)

    def _scale(self, scale: NDArray[np.float64], weights: list[Tensor]) -> None:
        kernels = _kernels()
        run_all(lambda share: kernels.rescale_(share, scale), self._threads() or [self._parts])
        for device, layers in self._by_device(weights).items():
            together = np.concatenate([scale[self.layers.rows(i)] for i in layers])
            wide = any(weights[i].dtype == torch.float64 for i in layers)
            moved = torch.from_numpy(together).to(torch.float64 if wide else torch.float32).to(device)
            for i, mine in zip(layers, _split(moved, self._offsets, layers), strict=True):
                if i in self._shards:
                    self._shards[i].scale_(mine)
                else:
                    scale_rows_(self.layers.modules[i], mine, self.layers.side)

    def _by_device(self, weights: list[Tensor], only: list[int] | None = None) -> dict[torch.device, list[int]]:
        found: dict[torch.device, list[int]] = {}
        for i in self._others if only is None else only:
            found.setdefault(weights[i].device, []).append(i)
        return found


def _memory(weight: Tensor) -> tuple[Any, ...]:
    """All that the description of a weight's memory depends on."""
    size = weight.untyped_storage().nbytes()
    return weight, weight.data_ptr(), weight.stride(), weight.dtype, weight.shape, size


def _split(joined: Any, offsets: NDArray[np.int64], layers: list[int]) -> list[Any]:
    ends = list(accumulate(int(offsets[i + 1] - offsets[i]) for i in layers))
    return [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@cache
def _kernels() -> Any:
    """The compiled code, loaded at the first step."""
    from torch_growl.mathematics.owl import prox_kernel, row_scaling, step_kernel

    return SimpleNamespace(
        whole_step=step_kernel.whole_step,
        squares=row_scaling.squares,
        combine=row_scaling.combine,
        rescale_=row_scaling.rescale_,
        shrink=step_kernel.shrink,
        DONE=step_kernel.DONE,
        workspace=prox_kernel.workspace,
    )
