"""The proximal step of GrOWL on whole channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.channels.channel_rows import ChannelRows
from torch_growl.networks.sharding import Rate

__all__ = ["ChannelLayers", "ChannelStep"]


@dataclass(frozen=True)
class ChannelLayers:
    """The channels that a proximal step works on; their rows are numbered in one sequence.

    Attributes:
        channels: held by reference.
        lams: for each sort of channels its λ, ``(channels,)`` float64 on the CPU.
        min_rows: a sort that would keep fewer channels keeps its largest ones unshrunk.
        offsets: the number of each sort's first row, and behind the last one the number of all rows.
    """

    channels: tuple[ChannelRows, ...]
    lams: tuple[Tensor, ...]
    min_rows: int
    offsets: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", (0, *accumulate(map(len, self.lams))))

    def rows(self, number: int) -> slice:
        """The numbers of the rows of one sort."""
        return slice(self.offsets[number], self.offsets[number + 1])

    def weights(self) -> dict[str, Tensor]:
        """All parameters that belong to the channels, by layer name or by their own."""
        return {name: weight for own in self.channels for name, weight in own.weights().items()}


class ChannelStep:
    """The proximal step on channels: what reads a channel is shrunk, and all of it is zero once that is.

    Implements :class:`torch_growl.networks.penalty.step_layers.ProximalStep`.

    Args:
        layers: what to shrink.
    """

    def __init__(self, layers: ChannelLayers) -> None:
        self.layers = layers
        self._offsets = np.array(layers.offsets, dtype=np.int64)
        self._lam = torch.cat(list(layers.lams)).numpy()
        self._pruned = np.zeros(len(self._lam), dtype=np.bool_)
        self._owed = np.ones(len(self._lam))
        self._floored = np.zeros(len(layers.lams), dtype=np.bool_)
        self._before = np.concatenate([np.arange(len(lam), dtype=np.int32) for lam in layers.lams])
        for number, own in enumerate(layers.channels):
            norms = own.values()
            self._pruned[layers.rows(number)] = (norms == 0) & bool(norms.any())

    def __call__(self, lrs: Sequence[Rate], strengths: Sequence[float], scale_free: bool) -> list[str]:
        """Shrink the rows.

        Returns:
            The sorts of channels that ``min_rows`` kept from being emptied.

        Raises:
            LayerError: a weight has NaN or infinite values; nothing was changed.
            InvalidValueError: a learning rate is negative or not finite; nothing was changed.
        """
        rates = np.array([float(cast(float, lr)) * strength for lr, strength in zip(lrs, strengths, strict=True)])
        self.layers.weights()
        if not all(0.0 <= rate < math.inf for rate in rates):
            raise InvalidValueError(f"the learning rate must be finite and ≥ 0, got {lrs}")
        norms = np.concatenate([own.values() for own in self.layers.channels])
        for number, own in enumerate(self.layers.channels):
            if broken := int((~np.isfinite(norms[self.layers.rows(number)])).sum()):
                raise LayerError(
                    f"{broken} of the {len(own)} channels of {own.name!r} are read by NaN or infinite weights; nothing "
                    "was changed: check the data and the gradients, or lower the learning rate or the strength"
                )
        if not rates.any():
            self.zero_pruned()
            return []
        scale, kernels = np.empty_like(norms), _kernels()
        pruned = self._pruned.copy()
        kernels.shrink(
            norms,
            self._lam,
            self._offsets,
            rates,
            scale_free,
            self.layers.min_rows,
            self._pruned,
            self._before,
            scale,
            self._floored,
            kernels.workspace.of(max(map(len, self.layers.lams))),
        )
        for number, own in enumerate(self.layers.channels):
            mine = self.layers.rows(number)
            if (scale[mine] != 1).any():
                own.scale_(scale[mine], whole=False)
            if (self._pruned[mine] & ~pruned[mine]).any():
                own.zero_(self._pruned[mine])
        return [self.layers.channels[i].name for i in np.flatnonzero(self._floored)]

    def pruned(self, layer: int) -> Tensor:
        """The pruned channels of one sort, ``(channels,)`` bool; writing to it changes the state."""
        return torch.from_numpy(self._pruned[self.layers.rows(layer)])

    def owed(self, layer: int) -> Tensor:
        """Factors that are not applied yet: none are, ``(channels,)`` of ones."""
        return torch.from_numpy(self._owed[self.layers.rows(layer)])

    def zero_pruned(self) -> None:
        """Set pruned channels to zero again, where momentum or weight decay moved them."""
        for number, own in enumerate(self.layers.channels):
            own.zero_(self._pruned[self.layers.rows(number)])

    def check(self) -> list[str]:
        """Report nothing: every step has reported already."""
        return []


@cache
def _kernels() -> Any:
    """The compiled code, loaded at the first step."""
    from torch_growl.mathematics.owl import prox_kernel, step_kernel

    return SimpleNamespace(shrink=step_kernel.shrink, workspace=prox_kernel.workspace)
