"""The parts of a network that can be removed: channels with all rows that read them, and single rows of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from torch import nn

from torch_growl.networks.wiring import MULTIPLIED, Flags, Wiring

__all__ = ["Alike", "alike_channels", "flagged_rows", "heads_that_stay", "with_rows_left"]

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Alike:
    """Channels that the same layers read and make, of which any may go.

    Attributes:
        readers: the layers that read them.
        rows: for each channel, the rows of every reader.
        stay: whether the channels themselves must stay, and only their one reader's rows can go.
        least: the number of channels of which the rows stay, ≥ 1.
    """

    readers: tuple[str, ...]
    rows: tuple[Mapping[str, Numbers], ...]
    stay: bool = False
    least: int = 1

    def __len__(self) -> int:
        return len(self.rows)


def alike_channels(wiring: Wiring, layers: Sequence[str]) -> list[Alike]:
    """Sort a network's channels by the layers that read and make them.

    A channel goes with all others that need it: those of a padded shortcut's output with its input's, the values of an
    attention's head with one another. Channels that
    must stay (the network's own inputs, what other code reads) can still lose their rows: each row of a layer that
    reads them is one of its own.

    Args:
        wiring: of the network.
        layers: those whose rows may be removed.
    """
    wiring = wiring.with_whole_heads()
    places: dict[int, dict[str, list[int]]] = {}
    singles: dict[str, list[int]] = {}
    for name in layers:
        for row, channel in enumerate(wiring.inputs[name].tolist()):
            if wiring.pinned[channel]:
                singles.setdefault(name, []).append(row)
            else:
                places.setdefault(channel, {}).setdefault(name, []).append(row)
    makers: dict[int, list[str]] = {}
    for name, outputs in wiring.outputs.items():
        for channel in np.unique(outputs).tolist():
            makers.setdefault(channel, []).append(name)
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Mapping[str, Numbers]]] = {}
    seen: set[frozenset[int]] = set()
    for channel in places:
        members = _with_dependents(wiring, channel)
        if frozenset(members) in seen:  # another value of the same head
            continue
        seen.add(frozenset(members))
        readers: dict[str, list[int]] = {}
        for own in members:
            for name, numbers in places.get(own, {}).items():
                readers.setdefault(name, []).extend(numbers)
        rows = {name: np.array(readers[name]) for name in layers if name in readers}
        found.setdefault((tuple(rows), tuple(makers.get(channel, ()))), []).append(rows)
    sorts = [Alike(readers, tuple(rows)) for (readers, _), rows in found.items()]
    sorts += [
        Alike((name,), tuple({name: np.array([row])} for row in rows), stay=True) for name, rows in singles.items()
    ]
    return [sort for sort in sorts if len(sort) > 1]


def with_rows_left(kinds: Sequence[Alike], sizes: Mapping[str, int], least: int) -> list[Alike]:
    """Let so many channels of each kind stay that every layer keeps a number of rows.

    A layer that reads channels of several kinds keeps rows of each of them, in proportion.

    Args:
        kinds: the kinds of channels.
        sizes: the number of rows of every layer.
        least: the number of rows that stay.
    """

    def channels(kind: Alike) -> int:
        shares = [Fraction(least, sizes[name]) for name in kind.readers]
        return min(len(kind), max(math.ceil(share * len(kind)) for share in shares))

    return [replace(kind, least=channels(kind)) for kind in kinds]


def heads_that_stay(network: nn.Module, wiring: Wiring) -> str:
    """Name the layers that make the values of an attention's heads that cannot be removed, with the reason; or "".

    Args:
        network: whose attentions of torch call their output projections, where that is possible.
        wiring: of the network.
    """
    found: dict[str, list[str]] = {}
    makers = {**wiring.outputs, **wiring.attentions}
    for values in (*(values for _, values in wiring.heads), *wiring.attentions.values()):
        stay = {channel: [own for own in _with_dependents(wiring, channel) if wiring.pinned[own]] for channel in values}
        held = [channel for channel, pinned in stay.items() if pinned]
        for name, outputs in makers.items() if held else ():
            if np.isin(outputs, held).any():
                reasons = (wiring.why[own] for channel in held for own in stay[channel] if own in wiring.why)
                found.setdefault(next(reasons, "other code reads them"), []).append(name)
    for name, why in wiring.reasons.items():
        where = why.partition(MULTIPLIED)[2]
        if where and name.startswith(f"{where}.") and sum(one.startswith(f"{where}.") for one in wiring.outputs) > 2:
            found.setdefault(why, []).append(name)  # its queries, keys, values: the code has a mask for each head
    for name, module in network.named_modules():
        if isinstance(module, nn.MultiheadAttention) and name not in wiring.attentions:
            why = "it is a subclass of nn.MultiheadAttention, has add_bias_kv or add_zero_attn, or is never called"
            found.setdefault(why, []).append(name)
    texts = [f"of {', '.join(map(repr, dict.fromkeys(names)))}: {why}" for why, names in found.items()]
    return f"heads of attention stay, those {'; '.join(texts)}" if texts else ""


def _with_dependents(wiring: Wiring, channel: int) -> list[int]:
    """The channel, and all channels that need it, directly or through others."""
    found = [channel]
    for own in found:
        found += [other for other in wiring.reads[wiring.reads[:, 0] == own, 1].tolist() if other not in found]
    return found


def flagged_rows(sizes: Mapping[str, int], channels: Sequence[Mapping[str, Numbers]]) -> dict[str, Flags]:
    """Flag the rows of channels, for each layer.

    Args:
        sizes: the number of rows of every layer.
        channels: from :attr:`Alike.rows`.
    """
    flags = {name: np.zeros(size, dtype=np.bool_) for name, size in sizes.items()}
    for channel in channels:
        for name, rows in channel.items():
            flags[name][rows] = True
    return flags
