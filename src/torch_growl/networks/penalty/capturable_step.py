"""The proximal step without host synchronisation, so that a CUDA graph can capture it.

All shapes are known beforehand and nothing is read back to the host. NaN weights and layers that ``min_rows`` kept from
being emptied are recorded on the device; :meth:`CapturableStep.check` reads the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from torch_growl.errors import LayerError
from torch_growl.mathematics.owl import isotonic_minmax
from torch_growl.networks.layers import row_norms, scale_rows_
from torch_growl.networks.penalty.step_layers import StepLayers
from torch_growl.networks.sharding import Rate, is_sharded

__all__ = ["CapturableStep"]

_TINY = 1e-30


class CapturableStep:
    """The proximal step with its state on the device of the layers.

    Implements :class:`torch_growl.networks.penalty.step_layers.ProximalStep`. Every tensor of the state keeps its
    address. Pooling is the O(n²) one of :func:`isotonic_minmax`, meant for layers of up to some thousand rows.

    Args:
        layers: what to shrink.
        pruned: for each layer which rows are pruned from the start, ``(n_rows,)`` bool.

    Raises:
        LayerError: the layers are not all on one device, or a weight is spread over processes.
    """

    def __init__(self, layers: StepLayers, pruned: Sequence[Tensor]) -> None:
        self.layers = layers
        if spread := [n for n, m in zip(layers.names, layers.modules, strict=True) if is_sharded(m.weight)]:
            raise LayerError(
                f"capturable=True needs whole weights; that of layer {spread[0]!r} is spread over processes"
            )
        devices = {cast(Tensor, module.weight).device for module in layers.modules}
        if len(devices) > 1:
            raise LayerError(
                f"capturable=True needs all penalised layers on one device, they are on {', '.join(map(str, devices))}"
            )
        self.device = devices.pop()
        rows = [len(lam) for lam in layers.lams]
        total, longest = sum(rows), max(rows)
        lam = torch.zeros(len(rows), longest, dtype=torch.float64)
        taken = torch.full((len(rows), longest), total)  # number of the row at each place; total: padding
        for i, mine in enumerate(layers.lams):
            lam[i, : rows[i]] = mine
            taken[i, : rows[i]] = torch.arange(layers.offsets[i], layers.offsets[i + 1])
        given = torch.cat([torch.arange(n) + i * longest for i, n in enumerate(rows)])
        self._lam, self._taken, self._given = lam.to(self.device), taken.to(self.device), given.to(self.device)
        self._root = torch.tensor(rows, dtype=torch.float64).sqrt().to(self.device)
        self._sent: list[float] = []
        self._strengths = torch.zeros(len(rows), dtype=torch.float64, device=self.device)
        self._pruned = torch.cat([rows.cpu() for rows in pruned]).to(self.device)
        self._owed = torch.ones(sum(rows), dtype=torch.float64, device=self.device)  # as in RowStep
        self._least = torch.zeros(sum(rows), dtype=torch.float64, device=self.device)
        self._types: list[torch.dtype] = []
        self._broken = torch.zeros(len(rows), dtype=torch.bool, device=self.device)
        self._floored = torch.zeros(len(rows), dtype=torch.bool, device=self.device)

    def pruned(self, layer: int) -> Tensor:
        """The pruned rows of a layer, ``(n_rows,)`` bool on the device; writing to it changes the state."""
        return self._pruned[self.layers.rows(layer)]

    def owed(self, layer: int) -> Tensor:
        """The factors owed to a layer's rows, ``(n_rows,)`` float64; writing to it changes the state."""
        return self._owed[self.layers.rows(layer)]

    @torch.no_grad()
    def __call__(self, lrs: Sequence[Rate], strengths: Sequence[float], scale_free: bool) -> list[str]:
        """Shrink the rows; if any weight is NaN or infinite, no weight changes and :meth:`check` raises the error.

        In a captured graph a learning rate that is a number is a constant, and so is a strength; a tensor is read at
        every replay.

        Returns:
            An empty list; :meth:`check` reports the layers that ``min_rows`` kept from being emptied.

        Raises:
            LayerError: a weight is not what it was.
        """
        for i, name in enumerate(self.layers.names):
            device = self.layers.plain_weight(i).device
            if device != self.device:
                raise LayerError(f"layer {name!r} was on {self.device} and now is on {device}; build a new GrOWL")
        half = self._look_at_types()
        rates = self._rates(lrs, strengths)
        still = rates == 0
        norms = torch.cat([row_norms(module, self.layers.side) for module in self.layers.modules]).double()
        norms = norms.masked_fill(self._pruned, 0.0) * self._owed
        finite = torch.isfinite(norms)
        v = torch.nn.functional.pad(norms.where(finite, 0.0), (0, 1))[self._taken]  # (n_layers, longest), padded with 0
        norm = torch.linalg.vector_norm(v, dim=1)
        if scale_free:
            rates = rates / (self._root * norm).clamp_min(_TINY)
        largest_first, order = v.sort(dim=1, descending=True, stable=True)
        x = isotonic_minmax(largest_first - self._lam * rates.unsqueeze(1)).clamp_min(0.0)
        there, left = (v > 0).sum(1), (x > 0).sum(1)
        least = there.clamp(max=self.layers.min_rows)
        floored = left < least
        kept = torch.arange(v.shape[1], device=v.device) < least.unsqueeze(1)
        x = torch.where(floored.unsqueeze(1), largest_first * kept, x)
        x = torch.where(largest_first > 0, x, 0.0)
        back = norm / torch.linalg.vector_norm(x, dim=1).clamp_min(_TINY) if scale_free else torch.ones_like(norm)
        x = torch.zeros_like(v).scatter(1, order, x)
        scale = torch.where(still.unsqueeze(1), (v > 0).double(), x * back.unsqueeze(1) / v.clamp_min(_TINY))
        scale = scale.flatten()[self._given]
        reached_zero = ((x == 0) & (v > 0)).flatten()[self._given]
        fine = finite.all() & torch.isfinite(rates).all()
        scale = torch.where(fine, scale, 1.0)
        self._pruned.logical_or_(reached_zero & fine)
        self._floored.logical_or_(floored & fine)
        broken = torch.nn.functional.pad(~finite, (0, 1))[self._taken].any(1)
        self._broken.logical_or_(broken | ~torch.isfinite(rates))
        if not half:
            self._apply(scale)
            return []
        owed = self._owed * scale
        due = ((owed - 1).abs() >= self._least) | (scale == 0)
        self._apply(torch.where(due, owed, 1.0))
        found = torch.cat([row_norms(module, self.layers.side) for module in self.layers.modules]).double()
        wanted = norms * scale
        there = (found > 0) & (wanted > 0) & (self._least > 0) & fine
        left = torch.where(there, wanted / found.clamp_min(_TINY), 1.0)
        self._owed.copy_(torch.where(due, left, owed))
        return []

    def _look_at_types(self) -> bool:
        """Tell whether any weight is in half precision, and note from which factor on each row is scaled."""
        types = [cast(Tensor, module.weight).dtype for module in self.layers.modules]
        if types != self._types:
            self._types = types
            for i, dtype in enumerate(types):
                half = dtype in (torch.bfloat16, torch.float16)
                self._least[self.layers.rows(i)] = torch.finfo(dtype).eps if half else 0.0
        return any(dtype in (torch.bfloat16, torch.float16) for dtype in types)

    def _rates(self, lrs: Sequence[Rate], strengths: Sequence[float]) -> Tensor:
        if list(strengths) != self._sent:
            self._sent = list(strengths)
            self._strengths.copy_(torch.tensor(self._sent, dtype=torch.float64), non_blocking=True)
        first = lrs[0]
        if all(lr is first for lr in lrs) or all(isinstance(lr, int | float) and lr == first for lr in lrs):
            return self._strengths * cast(Tensor, first)
        return torch.stack([strength * cast(Tensor, lr) for strength, lr in zip(self._strengths, lrs, strict=True)])

    @torch.no_grad()
    def zero_pruned(self) -> None:
        """Set pruned rows to zero again."""
        self._apply((~self._pruned).double())

    def _apply(self, scale: Tensor) -> None:
        for i, module in enumerate(self.layers.modules):
            scale_rows_(module, scale[self.layers.rows(i)], self.layers.side)

    def check(self) -> list[str]:
        """Wait for the device, and report the steps since the last check.

        Returns:
            The layers that ``min_rows`` kept from being emptied.

        Raises:
            LayerError: a weight was NaN or infinite in a step, which changed nothing.
        """
        broken, floored = self._broken.tolist(), self._floored.tolist()
        self._broken.zero_()
        self._floored.zero_()
        if any(broken):
            names = ", ".join(repr(name) for name, bad in zip(self.layers.names, broken, strict=True) if bad)
            raise LayerError(
                f"layer {names} had weights or a learning rate that are NaN, infinite or above 1e19 in a step; such "
                "steps changed nothing: check the data and the gradients, or lower the learning rate or the strength"
            )
        return [name for name, had in zip(self.layers.names, floored, strict=True) if had]
