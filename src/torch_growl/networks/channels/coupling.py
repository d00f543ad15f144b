"""Coupled channels: which rows, filters and other parameters belong to each channel of a network.

A channel of the wiring and all channels that need it (what a padded shortcut makes of it, the values that a gate
multiplies, the heads that read it) are one channel here: it can be removed only as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from torch_growl.networks.wiring import Wiring, connected_classes

__all__ = ["CoupledChannels", "coupled_channels"]

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class CoupledChannels:
    """Channels that the same layers read and make.

    Attributes:
        name: the first layer that makes them; behind a colon a number if there are several sorts of it.
        readers: for every layer that reads them, its rows of each channel, ``(channels, rows)``.
        makers: for every layer that makes them, its outputs of each channel, ``(channels, outputs)``.
        parameters: for every other parameter (normalisations, gates, embeddings), its elements of each channel by their
            place in memory, ``(channels, elements)``.
    """

    name: str
    readers: Mapping[str, Numbers]
    makers: Mapping[str, Numbers]
    parameters: Mapping[str, Numbers]

    def __len__(self) -> int:
        return len(next(iter(self.readers.values())))


def coupled_channels(
    wiring: Wiring, readers: Collection[str], parameters: Collection[str], staying: Collection[str] = ()
) -> tuple[list[CoupledChannels], dict[str, str]]:
    """Sort the channels that can be removed by the layers that read and make them.

    Args:
        wiring: of the network.
        readers: the layers without groups whose rows may be removed.
        parameters: the names of the network's parameters.
        staying: the layers whose rows may not be removed.

    Returns:
        The sorts with at least two channels, and for every one of the layers that reads none of their channels, why.
    """
    of = _components(wiring, staying)
    parts: dict[int, dict[tuple[str, str], list[int]]] = {}

    def collect(kind: str, name: str, classes: Numbers) -> None:
        for place, component in enumerate(of[classes].reshape(-1).tolist()):
            if component:
                parts.setdefault(component, {}).setdefault((kind, name), []).append(place)

    for name in readers:
        collect("readers", name, wiring.inputs[name])
    for name, classes in wiring.outputs.items():
        collect("makers", name, classes)
    for name, classes in wiring.parameters.items():
        if name in parameters:
            collect("parameters", name, classes)
    sorts: dict[tuple[tuple[str, str, int], ...], list[dict[tuple[str, str], list[int]]]] = {}
    for own in parts.values():
        if any(kind == "readers" for kind, _ in own):
            key = tuple((kind, name, len(places)) for (kind, name), places in own.items())
            sorts.setdefault(key, []).append(own)
    found: dict[str, CoupledChannels] = {}
    for key, members in sorts.items():
        if len(members) > 1:
            first = next((name for kind, name, _ in key if kind == "makers"), key[0][1])
            names = [first, *(f"{first}:{number}" for number in range(2, len(found) + 2))]
            name = next(name for name in names if name not in found)
            tables: dict[str, dict[str, Numbers]] = {"readers": {}, "makers": {}, "parameters": {}}
            for kind, part, _ in key:
                tables[kind][part] = np.array([own[kind, part] for own in members])
            found[name] = CoupledChannels(name, **tables)
    read = {name for own in found.values() for name in own.readers}
    return list(found.values()), {name: _why(wiring, name) for name in readers if name not in read}


def _components(wiring: Wiring, staying: Collection[str]) -> Numbers:
    """For every class its component: itself and all that need it; 0 for those that must stay."""
    pinned = wiring.pinned.copy()
    for name in staying:
        pinned[wiring.inputs[name]] = True
    before = -1
    while before != (before := int(pinned.sum())):
        pinned[wiring.reads[pinned[wiring.reads[:, 1]], 0]] = True  # what is read by a channel that must stay
    free = wiring.reads[~pinned[wiring.reads].any(axis=1)]
    of = connected_classes(wiring.count, [torch.from_numpy(free)])
    stays = np.unique(of[pinned])
    return np.where(np.isin(of, stays), 0, of)


def _why(wiring: Wiring, name: str) -> str:
    classes = wiring.inputs[name].tolist()
    why = next(
        (wiring.why[own] for own in classes if own in wiring.why),
        "they are inputs, or mixed by an operation",
    )
    stay = all(wiring.pinned[own] for own in classes)
    return f"the channels that it reads must stay: {why}" if stay else "it reads no two channels of one sort"
