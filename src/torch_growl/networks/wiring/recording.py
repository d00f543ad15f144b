"""The record of one watched run: which channels met, which layers made and read them, which must stay.

Channels are given by their identities (:mod:`torch_growl.networks.wiring.identities`).
:mod:`torch_growl.networks.wiring.watching` fills the record, :mod:`torch_growl.networks.wiring.wiring` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_growl.networks.execution import FewerHeads
from torch_growl.networks.wiring.identities import FIXED, couples, expanded, thin, varying

__all__ = ["LinearChain", "NumberedChannels", "RecordedGrid", "Recording", "Resize"]


class LinearChain(NamedTuple):
    """The way from one layer's output to another layer's input, linear and the same for every channel.

    Attributes:
        source: the layer whose output it starts at.
        norms: the batch normalisations on the way, which are linear but differ between channels.
    """

    source: str
    norms: tuple[str, ...] = ()


@dataclass
class RecordedGrid:
    """A tensor with channels along several dimensions: the elements that are left must form a grid again.

    Attributes:
        ids: identities, with only the dimensions that have channels.
        needs: ``(axes, ids)``: identities along these axes of another tensor that meets this one; while they are
            needed, so are the slices that they meet.
    """

    ids: Tensor
    needs: list[tuple[tuple[int, ...], Tensor]] = field(default_factory=list)


@dataclass(frozen=True)
class Resize:
    """A tensor that a module shaped with sizes that it may take from its own attributes."""

    module: str
    ids: Tensor


class NumberedChannels(NamedTuple):
    """The channels of a module without parameters that pads or slices them by number.

    Attributes:
        dim: the dimension of the channels in its input and its output, counted from the end.
        inputs: identities of its input along this dimension.
        outputs: identities of its output along this dimension.
    """

    dim: int
    inputs: Tensor
    outputs: Tensor


@dataclass
class Recording:
    """The result of watched runs, in identities.

    Attributes:
        count: identities are 0 … count − 1.
        inputs: for every layer that was called, the identities of its inputs, ``(inputs,)``.
        outputs: for every layer that was called, those of its output channels, ``(outputs,)``.
        parameters: for every other parameter and buffer that met channels, its identities, of its shape.
        edges: pairs that can only be removed together.
        reads: pairs ``(read, reader)``: the first is needed while the second is.
        grids: tensors of which a grid must be left.
        pins: identities that must stay, and why.
        resizes: tensors that modules shaped themselves.
        numbered: modules without parameters that pad or slice channels by number.
        padded: modules with parameters that pad channels in code of their own.
        group_norms: group normalisations by name: identities of their channels, and the number of groups.
        normalised: normalisations of torch without parameters and buffers by name: identities of their channels; None
            where they differ between calls.
        calls: how often each layer was called, at most in one run.
        chains: for every layer whose input followed linearly from one other layer's output, in all runs in the same
            way, that way; None for other layers.
        sources: for every layer, the numbers of the tensors that it read.
        outside: layers whose weight was read by other code than their own forward.
        heads: for attentions of torch, an identity for each head.
        constants: for every layer that was called, the values of its constant inputs, NaN for all others.
    """

    count: int = 1
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    parameters: dict[str, Tensor] = field(default_factory=dict)
    edges: list[Tensor] = field(default_factory=list)
    reads: list[Tensor] = field(default_factory=list)
    grids: list[RecordedGrid] = field(default_factory=list)
    pins: list[tuple[Tensor, str]] = field(default_factory=list)
    resizes: list[Resize] = field(default_factory=list)
    numbered: dict[str, NumberedChannels] = field(default_factory=dict)
    padded: list[str] = field(default_factory=list)
    group_norms: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    normalised: dict[str, Tensor | None] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    chains: dict[str, LinearChain | None] = field(default_factory=dict)
    sources: dict[str, tuple[int, ...]] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)
    heads: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def fresh(self, number: int) -> Tensor:
        """New identities: ``(number,)``."""
        ids = torch.arange(self.count, self.count + number)
        self.count += number
        return ids

    def pin(self, ids: Tensor, reason: str) -> None:
        """Record that these identities must stay."""
        found = torch.unique(ids)
        found = found[found != FIXED]
        if len(found):
            self.pins.append((found, reason))

    def couple(self, a: Tensor, b: Tensor) -> None:
        """Record that identities at the same place can only be removed together; shapes broadcast."""
        self.edges.append(couples(a, b))

    def read(self, ids: Tensor, reader: Tensor) -> None:
        """Record that identities are needed while the reader at the same place is; shapes broadcast."""
        pairs = couples(ids, reader)
        self.reads.append(pairs[(pairs[:, 0] != FIXED)])

    def channels_of_heads(self, name: str, module: FewerHeads) -> Tensor:
        """The identities of what an attention of torch gives its output projection: of each channel, its head's.

        The rows of its packed projections that make queries, keys and values of a head are of the same identity.
        """
        first = name not in self.heads
        channels = self.heads.setdefault(name, self.fresh(module.num_heads)).repeat_interleave(module.head_dim)
        for key, value in module._parameters.items() if first else ():
            if value is not None:
                ids = expanded(channels.repeat(len(value) // len(channels)), 0, value.shape)
                self.couple(self.parameters.setdefault(f"{name}.{key}", ids), ids)  # other code may have read it before
        return channels

    def attend(self, name: str, read: Iterable[Tensor], why: str) -> Tensor:
        """Record a call of an attention of torch.

        Args:
            name: the attention.
            read: identities of what it was called with; they must stay.
            why: why its heads must stay; empty where they may be removed.

        Returns:
            The identity of the weights that it returns, ``(1,)``; while they are needed, so are all heads.
        """
        for ids in read:
            self.pin(ids, f"its output is read by the attention {name}, whose packed projections keep their inputs")
        if why:
            self.pin(self.heads[name], why)
        returned = self.fresh(1)
        self.read(self.heads[name], returned)
        return returned

    def keep_unread(self) -> None:
        """Couple the slices of parameters that no example read with the first slice that was read.

        A longer sequence reads more positions, another token another expert: what no example reads is not removed.
        """
        read = torch.zeros(self.count, dtype=torch.bool)
        for pairs in (*self.edges, *self.reads, *(ids for ids, _ in self.pins)):
            read[pairs] = True
        for ids in self.parameters.values():
            for dim in range(ids.ndim):
                line = read[ids].movedim(dim, 0).reshape(ids.shape[dim], -1).any(dim=1)
                if line.any() and not line.all():
                    first = ids.select(dim, int(line.nonzero()[0])).unsqueeze(dim)
                    self.couple(ids.index_select(dim, (~line).nonzero().flatten()), first)

    def grid(self, ids: Tensor, needs: Iterable[tuple[tuple[int, ...], Tensor]] = ()) -> None:
        """Record that a grid must be left of a tensor; ``needs`` are along its varying dimensions."""
        needs = list(needs)
        dims = varying(ids)
        if len(dims) < 2 and not needs:
            return
        self.grids.append(RecordedGrid(thin(ids).reshape([ids.shape[dim] for dim in dims]).clone(), needs))
