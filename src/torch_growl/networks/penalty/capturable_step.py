"""The proximal step of :mod:`torch_growl.networks.penalty.row_step` without a word to the host: for CUDA graphs.

All shapes are known beforehand and nothing is read back, so the step never waits for the device and can be captured.
What the host would otherwise be told at once, NaN weights and layers that ``min_rows`` kept from being emptied, is kept
on the device until :meth:`CapturableStep.check` asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from torch_growl.errors import LayerError
from torch_growl.mathematics.owl import isotonic_minmax
from torch_growl.networks.layers import Side, row_norms, scale_rows_
from torch_growl.networks.penalty.weight_memory import plain_weight

__all__ = ["CapturableStep"]

_TINY = 1e-30


class CapturableStep:
    """The state of the steps on some layers, on their device, and the step.

    Every tensor of the state keeps its address. Pooling is the O(n²) one of :func:`isotonic_minmax`: meant for layers
    of up to some thousand rows.

    Args:
        names, modules, lams, dead, side, min_rows: as for :class:`torch_growl.networks.penalty.row_step.RowStep`.

    Raises:
        LayerError: the layers are not all on one device.
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
        devices = {cast(Tensor, module.weight).device for module in modules}
        if len(devices) > 1:
            raise LayerError(
                f"capturable=True needs all penalised layers on one device, they are on {', '.join(map(str, devices))}"
            )
        self.device = devices.pop()
        rows = [len(lam) for lam in lams]
        self._bounds = [0, *accumulate(rows)]
        total, longest = sum(rows), max(rows)
        lam = torch.zeros(len(rows), longest, dtype=torch.float64)
        taken = torch.full((len(rows), longest), total)  # which row stands where; what is over points behind the last
        for i, mine in enumerate(lams):
            lam[i, : rows[i]] = mine
            taken[i, : rows[i]] = torch.arange(self._bounds[i], self._bounds[i + 1])
        given = torch.cat([torch.arange(n) + i * longest for i, n in enumerate(rows)])
        self._lam, self._taken, self._given = lam.to(self.device), taken.to(self.device), given.to(self.device)
        self._root = torch.tensor(rows, dtype=torch.float64).sqrt().to(self.device)
        self._sent: list[float] = []
        self._strengths = torch.zeros(len(rows), dtype=torch.float64, device=self.device)
        self._dead = torch.cat([d.cpu() for d in dead]).to(self.device)
        self._broken = torch.zeros(len(rows), dtype=torch.bool, device=self.device)
        self._floored = torch.zeros(len(rows), dtype=torch.bool, device=self.device)

    def dead(self, layer: int) -> Tensor:
        """Which rows of a layer are dead: ``(n_rows,)`` bool; writing to it changes the state."""
        return self._dead[self._bounds[layer] : self._bounds[layer + 1]]

    @torch.no_grad()
    def __call__(self, lrs: Sequence[float | Tensor], strengths: Sequence[float], scale_free: bool) -> list[str]:
        """One step, in place; where any weight is NaN or infinite, no weight changes.

        Args:
            lrs: for each layer its learning rate, ≥ 0. In a captured graph a number is a constant, as are strengths;
                a tensor is read at every replay.
            strengths: for each layer its strength, ≥ 0.
            scale_free: see :class:`torch_growl.GrOWL`.

        Returns:
            Nothing that happened in this step; :meth:`check` tells.

        Raises:
            LayerError: a weight is no longer what it was, see
            :func:`torch_growl.networks.penalty.weight_memory.plain_weight`.
        """
        for i, (name, module) in enumerate(zip(self.names, self._modules, strict=True)):
            plain_weight(name, module, self.side, self._bounds[i + 1] - self._bounds[i])
        rates = self._rates(lrs, strengths)
        norms = torch.cat([row_norms(module, self.side) for module in self._modules]).double()
        norms = norms.masked_fill(self._dead, 0.0)
        finite = torch.isfinite(norms)
        v = torch.nn.functional.pad(norms.where(finite, 0.0), (0, 1))[self._taken]  # (n_layers, longest), 0 where over
        norm = torch.linalg.vector_norm(v, dim=1)
        if scale_free:
            rates = rates / (self._root * norm).clamp_min(_TINY)
        largest_first, order = v.sort(dim=1, descending=True, stable=True)
        x = isotonic_minmax(largest_first - self._lam * rates.unsqueeze(1)).clamp_min(0.0)
        there, left = (v > 0).sum(1), (x > 0).sum(1)
        least = there.clamp(max=self.min_rows)
        floored = left < least
        kept = torch.arange(v.shape[1], device=v.device) < least.unsqueeze(1)
        x = torch.where(floored.unsqueeze(1), largest_first * kept, x)
        x = torch.where(largest_first > 0, x, 0.0)
        back = norm / torch.linalg.vector_norm(x, dim=1).clamp_min(_TINY) if scale_free else torch.ones_like(norm)
        x = torch.zeros_like(v).scatter(1, order, x)
        scale = (x * back.unsqueeze(1) / v.clamp_min(_TINY)).flatten()[self._given]
        died = ((x == 0) & (v > 0)).flatten()[self._given]
        fine = finite.all()
        scale = torch.where(fine, scale, 1.0)
        self._dead.logical_or_(died & fine)
        self._floored.logical_or_(floored & fine)
        broken = torch.nn.functional.pad(~finite, (0, 1))[self._taken].any(1)
        self._broken.logical_or_(broken)
        self._apply(scale)
        return []

    def _rates(self, lrs: Sequence[float | Tensor], strengths: Sequence[float]) -> Tensor:
        if list(strengths) != self._sent:
            self._sent = list(strengths)
            self._strengths.copy_(torch.tensor(self._sent, dtype=torch.float64), non_blocking=True)
        first = lrs[0]
        if all(lr is first for lr in lrs) or all(isinstance(lr, int | float) and lr == first for lr in lrs):
            return self._strengths * first
        return torch.stack([strength * lr for strength, lr in zip(self._strengths, lrs, strict=True)])

    @torch.no_grad()
    def silence(self) -> None:
        """Set dead rows to zero again."""
        self._apply((~self._dead).double())

    def _apply(self, scale: Tensor) -> None:
        for i, module in enumerate(self._modules):
            scale_rows_(module, scale[self._bounds[i] : self._bounds[i + 1]], self.side)

    def check(self) -> list[str]:
        """Wait for the device and hear what happened since the last time.

        Returns:
            The layers that ``min_rows`` kept from being emptied.

        Raises:
            LayerError: a weight was NaN or infinite in some step, which changed nothing.
        """
        broken, floored = self._broken.tolist(), self._floored.tolist()
        self._broken.zero_()
        self._floored.zero_()
        if any(broken):
            names = ", ".join(repr(name) for name, bad in zip(self.names, broken, strict=True) if bad)
            raise LayerError(
                f"layer {names} had NaN or infinite weights in a step; such steps changed nothing: "
                "lower the learning rate or the strength, or check the data"
            )
        return [name for name, had in zip(self.names, floored, strict=True) if had]
