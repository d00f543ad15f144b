"""Whole channels as rows of a penalty: which ones there are, their settings, and their rows for a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torch_growl.errors import LayerError
from torch_growl.mathematics.owl import LambdaSequence
from torch_growl.networks.channels.channel_rows import ChannelRows
from torch_growl.networks.channels.coupling import coupled_channels
from torch_growl.networks.layers import inspect_layers, matching, registered_kind
from torch_growl.networks.sharding import is_sharded
from torch_growl.networks.targets import Counter
from torch_growl.networks.wiring import Flags, Wiring

__all__ = ["ChannelsOf", "PenalisedChannels", "choose_channels"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ChannelsOf:
    """Channels for a target, as :class:`torch_growl.networks.targets.pressing.Rows`: λ, and the least that stay."""

    rows: ChannelRows
    lam: Floats
    least: int
    groups: int = 1

    @property
    def name(self) -> str:
        """The name of the channels."""
        return self.rows.name

    @property
    def least_of_group(self) -> int:
        """The least number of channels that stay."""
        return min(self.least, len(self.lam))

    @property
    def all_but_least(self) -> Flags:
        """Flags of all channels but the least number that stay."""
        return np.arange(len(self.lam)) >= self.least_of_group

    @property
    def frozen(self) -> bool:
        """Tell whether a layer that reads the channels has been frozen since; they stay then."""
        return self.rows.frozen

    def norms(self) -> Floats:
        """The importance of every channel now: its rows' norms, in units of each layer's mean."""
        return self.rows.in_units()

    def by_layer(self, gone: Flags) -> Mapping[str, Flags]:
        """Flags of the channels' rows, by the layers that read them."""
        return self.rows.rows(gone)

    def classes(self, wiring: Wiring) -> NDArray[np.int64] | None:
        """None: a channel stands for several of the wiring."""
        return None


@dataclass
class PenalisedChannels:
    """The channels of one sort, penalised as rows.

    Attributes:
        rows: the channels in the network.
        lam: their λ, ``(channels,)`` float64 on the CPU.
        share: the factor of the global strength that ``balance`` gives.
        own_strength: None: there are no overrides for channels.
    """

    rows: ChannelRows
    lam: Tensor
    share: float = 1.0
    own_strength: float | None = None

    @property
    def name(self) -> str:
        """The name of the channels."""
        return self.rows.name

    @property
    def readers(self) -> tuple[str, ...]:
        """The layers that read the channels."""
        return tuple(self.rows.readers)

    @property
    def text(self) -> str:
        """The layers that read the channels, and the size of the rows."""
        return f"read by {', '.join(self.readers)}: {len(self.lam)} channels of {self.rows.row_length}"

    @property
    def n_weights(self) -> int:
        """The number of weights that read the channels."""
        return len(self.lam) * self.rows.row_length

    @property
    def frozen(self) -> bool:
        """Tell whether a layer that reads the channels has been frozen since."""
        return self.rows.frozen

    def norms(self) -> Tensor:
        """The norms of the rows, differentiable."""
        return self.rows.norms()

    def nonzero(self) -> int:
        """The number of channels that are read."""
        return int((self.rows.values() != 0).sum())

    def scale_(self, factors: Tensor) -> None:
        """Multiply the channels, with all that makes them."""
        self.rows.scale_(factors.numpy(), whole=True)

    def zero_base_(self, pruned: Tensor, base_of: Callable[[Tensor], Tensor | None]) -> None:
        """Set pruned channels to zero in the tensors that an optimizer keeps for their parameters, if it does."""
        self.rows.zero_(pruned.numpy(), base_of)

    def flags(self, rows: Mapping[str, Flags]) -> Flags:
        """The channels of which all rows are among those of some layers, by name."""
        found = np.ones(len(self.lam), dtype=np.bool_)
        for name, numbers in self.rows.channels.readers.items():
            found &= rows[name][numbers].all(axis=1) if name in rows else False
        return found

    def as_rows(self, least: int) -> ChannelsOf:
        """The rows for a target."""
        return ChannelsOf(self.rows, self.lam.numpy(), least)


def choose_channels(
    model: nn.Module, example_inputs: Any, layers: Iterable[str] | None, sequence: LambdaSequence, power: float
) -> tuple[list[PenalisedChannels], dict[str, str]]:
    """Choose the channels to penalise.

    Args:
        model: the network; not modified, a copy is run and compacted on the example inputs.
        example_inputs: as for :func:`torch_growl.compact`.
        layers: names or patterns; channels are taken if all layers that read them match. None: all.
        sequence: the shape of λ.
        power: of a sort's share of the weights, for its strength.

    Returns:
        The sorts of channels, and the reason for each layer that reads none of them.

    Raises:
        InvalidTypeError, InvalidValueError, CompactionError: as of :class:`torch_growl.networks.targets.Counter`.
        LayerError: a name matches no layer, or no channel can be removed.
    """
    counter, infos = Counter(model, example_inputs), {info.name: info for info in inspect_layers(model)}
    left_out = {name: info.reason or "its rows cannot be removed" for name, info in infos.items()}
    readers = []
    for name in counter.cuttable:
        if infos[name].reason:
            continue
        readers.append(name)
        if is_sharded(cast(Tensor, infos[name].module.weight)):
            raise LayerError(f"side='channel' takes whole weights; that of layer {name!r} is spread over processes")
        if (dtype := cast(Tensor, infos[name].module.weight).dtype) not in (torch.float32, torch.float64):
            raise LayerError(f"side='channel' takes weights of float32 or float64; layer {name!r} has {dtype}")
    wanted = {info.name for pattern in layers for info in matching(pattern, list(infos.values()))} if layers else None
    kinds = {name: registered_kind(infos[name].module) for name in counter.wiring.inputs}
    staying = [name for name, kind in kinds.items() if name not in readers and kind.groups(infos[name].module) == 1]
    found, reasons = coupled_channels(counter.wiring, readers, dict(model.named_parameters()), staying)
    chosen = []
    for own in found:
        if wanted is None or set(own.readers) <= wanted:
            rows = ChannelRows(model, own)
            chosen.append(PenalisedChannels(rows, sequence(len(rows), row_length=rows.row_length)))
    if not chosen:
        listed = "; ".join(f"{name}: {reason}" for name, reason in {**left_out, **reasons}.items())
        raise LayerError(f"no channel of the network can be removed ({listed}); use side='input'")
    total = sum(own.n_weights for own in chosen)
    for each in chosen:
        each.share = float((each.n_weights / total) ** power)
    read = {name for each in chosen for name in each.readers}
    left_out |= dict.fromkeys(readers, "not asked for") | reasons
    return chosen, {name: reason for name, reason in left_out.items() if name not in read}
