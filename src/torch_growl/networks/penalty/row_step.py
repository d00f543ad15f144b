"""One proximal step of GrOWL on the rows of many layers: norms, prox, scaling, in as few passes over memory as can be.

Weights that lie densely in the CPU's memory, as float32 or float64, are read once and read and written once by compiled
code, all layers in one call, whatever their number. All others (other devices, other types) are read and scaled by
torch, layer by layer, with one copy of all their norms to the CPU and one of all scales back. Memory beyond the
weights grows with the number of rows only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from torch_growl.networks.layers import Side, row_norms, scale_rows_
from torch_growl.networks.penalty.weight_memory import Part, dense_layout, parts_of, plain_weight

__all__ = ["RowStep"]

_THREADS_FROM = 1 << 20  # weights: fewer are sooner gone through by one thread


class RowStep:
    """The state of the steps on some layers, and the step.

    Args:
        names: the layers' names, for errors.
        modules: the layers, of registered types; held by reference, their weights are looked up at every step.
        lams: for each layer its λ, ``(n_rows,)`` float64.
        dead: for each layer which rows are dead from the start, ``(n_rows,)`` bool.
        side: which rows.
        min_rows: a layer that would keep fewer rows keeps its largest ones unshrunk.
    """

    def __init__(
        self,
        names: Sequence[str],
        modules: Sequence[nn.Module],
        lams: Sequence[Tensor],
        dead: Sequence[Tensor],
        side: Side,
        min_rows: int,
    ) -> None:
        self.names = tuple(names)
        self.side: Side = side
        self.min_rows = min_rows
        self._modules = tuple(modules)
        self._offsets = np.array([0, *accumulate(map(len, lams))], dtype=np.int64)
        lam = torch.cat(list(lams)).numpy()
        self._of_rows = np.stack([np.zeros_like(lam), lam, np.zeros_like(lam)])  # norms, λ, scales
        self._dead = torch.cat([rows.cpu() for rows in dead]).numpy()
        self._longest = max(map(len, lams))
        self._before = np.concatenate([np.arange(len(lam), dtype=np.int32) for lam in lams])
        self._floored = np.zeros(len(lams), dtype=np.bool_)
        self._rates = np.zeros(len(lams))
        self._seen: list[Any] = [None] * len(lams)
        self._dense: list[Part | None] = [None] * len(lams)
        self._cut()

    def __getstate__(self) -> dict[str, Any]:
        """A copy must look up its own weights' addresses."""
        return {**self.__dict__, "_seen": [None] * len(self._seen)}

    def dead(self, layer: int) -> Tensor:
        """Which rows of a layer are dead: ``(n_rows,)`` bool on the CPU; writing to it changes the state."""
        return torch.from_numpy(self._dead[self._rows(layer)])

    def _rows(self, layer: int) -> slice:
        return slice(self._offsets[layer], self._offsets[layer + 1])

    def __call__(self, lrs: Sequence[float | Tensor], strengths: Sequence[float], scale_free: bool) -> list[str]:
        """One step, in place.

        Args:
            lrs: for each layer its learning rate, ≥ 0.
            strengths: for each layer its strength, ≥ 0.
            scale_free: see :class:`torch_growl.GrOWL`.

        Returns:
            The layers that ``min_rows`` kept from being emptied.

        Raises:
            LayerError: a weight has NaN or infinite values, or is no longer what it was (see
                :func:`torch_growl.networks.penalty.weight_memory.plain_weight`); nothing was changed.
            InvalidValueError: a learning rate is negative or not finite; nothing was changed.
        """
        rates = [float(lr) * strength for lr, strength in zip(lrs, strengths, strict=True)]
        for name, lr, rate in zip(self.names, lrs, rates, strict=True):
            if not 0.0 <= rate < math.inf:
                raise InvalidValueError(f"layer {name!r}: the learning rate must be finite and ≥ 0, got {float(lr)}")
        weights = self._look()
        self._rates[:] = rates
        found = self._in_parts(scale_free, weights) if self._others or self._shares() else self._whole(scale_free)
        if found >= 0:
            broken = ~np.isfinite(self._of_rows[0, self._rows(found)])
            raise LayerError(
                f"layer {self.names[found]!r} has NaN or infinite weights in {int(broken.sum())} of its {len(broken)} "
                "rows; nothing was changed: lower the learning rate or the strength, or check the data"
            )
        torch.autograd.graph.increment_version(weights)  # autograd must know that they were written to
        return [] if found == _kernels().DONE else [self.names[i] for i in np.flatnonzero(self._floored)]

    def _whole(self, scale_free: bool) -> int:
        kernels = _kernels()
        return kernels.whole_step(  # type: ignore[no-any-return]
            self._parts,
            self._sums,
            self._offsets,
            self._of_rows,
            self._rates,
            scale_free,
            self.min_rows,
            self._dead,
            self._before,
            self._floored,
            kernels.workspace.of(self._longest),
        )

    def _in_parts(self, scale_free: bool, weights: list[Tensor]) -> int:
        """The same where several threads are worth it, or torch has to read and scale some of the weights."""
        kernels, shares = _kernels(), self._shares() or [self._parts]
        norms, lam, scale = self._of_rows
        run_all(lambda share: kernels.squares(share, self._sums), shares)
        kernels.combine(self._parts, self._sums, norms)
        if self._others:
            self._read(norms, weights)
        found: int = kernels.shrink(
            norms,
            lam,
            self._offsets,
            self._rates,
            scale_free,
            self.min_rows,
            self._dead,
            self._before,
            scale,
            self._floored,
            kernels.workspace.of(self._longest),
        )
        if found < 0:
            self._scale(scale, weights)
        return found

    def _shares(self) -> list[NDArray[np.int64]]:
        """The parts in as many shares as torch has threads; none where one thread is enough."""
        number = torch.get_num_threads()
        if number == 1 or self._weights_up_to[-1] < _THREADS_FROM:
            return []
        ends = np.searchsorted(self._weights_up_to, self._weights_up_to[-1] * np.arange(1, number) / number)
        return [share for share in np.split(self._parts, ends) if len(share)]

    def check(self) -> list[str]:
        """Nothing: every step says at once what happened."""
        return []

    def silence(self) -> None:
        """Set dead rows to zero again."""
        if self._dead.any():
            weights = self._look()
            self._scale((~self._dead).astype(np.float64), weights)
            torch.autograd.graph.increment_version(weights)

    def _look(self) -> list[Tensor]:
        """The weights; where one has moved, its line of the table is written anew."""
        weights = [cast(Tensor, module._parameters.get("weight")) for module in self._modules]
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
            ):
                rows = int(self._offsets[i + 1] - self._offsets[i])
                plain_weight(self.names[i], self._modules[i], self.side, rows)
                plain = weight.is_cpu and type(weight) in (Tensor, nn.Parameter) and weight.layout == torch.strided
                lines[i] = dense_layout(self._modules[i], weight, self.side) if plain else None
        moved = any(line != self._dense[i] for i, line in lines.items())
        for i, line in lines.items():
            weight = weights[i]
            self._dense[i] = line
            self._seen[i] = (weight, weight.data_ptr(), weight.stride(), weight.dtype, weight.shape) if line else None
        if moved:
            self._cut()
        return weights

    def _cut(self) -> None:
        """The table of parts; what is not in it, torch reads and scales."""
        self._others = [i for i, whole in enumerate(self._dense) if whole is None]
        lines: list[Part] = []
        at = 0
        for lo, whole in zip(self._offsets, self._dense, strict=False):
            for part, first in parts_of(whole) if whole else ():
                lines.append((*part, int(lo) + first, at))
                at += part[2] * part[4]
        self._parts = np.array(lines, dtype=np.int64).reshape(-1, 8)
        self._sums = np.empty(at)
        self._weights_up_to = np.cumsum(self._parts[:, 2:6].prod(axis=1)) if lines else np.zeros(1, np.int64)

    @torch.no_grad()
    def _read(self, norms: NDArray[np.float64], weights: list[Tensor]) -> None:
        """Norms that torch computes: one copy from every device that holds some."""
        for layers in self._by_device(weights).values():
            found = torch.cat([row_norms(self._modules[i], self.side).double() for i in layers]).cpu().numpy()
            for i, mine in zip(layers, _split(found, self._offsets, layers), strict=True):
                norms[self._rows(i)] = mine

    def _scale(self, scale: NDArray[np.float64], weights: list[Tensor]) -> None:
        kernels = _kernels()
        run_all(lambda share: kernels.rescale_(share, scale), self._shares() or [self._parts])
        for device, layers in self._by_device(weights).items():
            together = np.concatenate([scale[self._rows(i)] for i in layers])
            wide = any(weights[i].dtype == torch.float64 for i in layers)
            moved = torch.from_numpy(together).to(torch.float64 if wide else torch.float32).to(device)
            for i, mine in zip(layers, _split(moved, self._offsets, layers), strict=True):
                scale_rows_(self._modules[i], mine, self.side)

    def _by_device(self, weights: list[Tensor]) -> dict[torch.device, list[int]]:
        found: dict[torch.device, list[int]] = {}
        for i in self._others:
            found.setdefault(weights[i].device, []).append(i)
        return found


def _split(joined: Any, offsets: NDArray[np.int64], layers: list[int]) -> list[Any]:
    ends = list(accumulate(int(offsets[i + 1] - offsets[i]) for i in layers))
    return [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@cache
def _kernels() -> Any:
    """The compiled code, loaded when first needed."""
    from torch_growl.mathematics.owl import pooling, row_scaling, shrinkage

    return SimpleNamespace(
        whole_step=shrinkage.whole_step,
        squares=row_scaling.squares,
        combine=row_scaling.combine,
        rescale_=row_scaling.rescale_,
        shrink=shrinkage.shrink,
        DONE=shrinkage.DONE,
        workspace=pooling.workspace,
    )
