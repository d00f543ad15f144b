"""Who makes and who reads each channel: the wiring of a network, found by recording one run.

Channels that can only go together (they are added to one another, normalised as one group, belong to one group of a
convolution …) are one *class*. Class 0 is what must stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from torch_growl.errors import first_line
from torch_growl.networks.layers import registered_layers
from torch_growl.networks.wiring.identities import FIXED, Classes, partition
from torch_growl.networks.wiring.operations import follow
from torch_growl.networks.wiring.recording import Chain, Recording, record

__all__ = ["Grid", "Link", "Wiring", "no_wiring", "wiring_of"]


@dataclass(frozen=True)
class Link:
    """One reader of a layer's output channels: a layer, and for each of its inputs the channel's class."""

    consumer: str
    inputs: Classes


@dataclass(frozen=True)
class Grid:
    """Classes of a tensor whose remainder must be a grid; ``needs`` are classes along some of its axes."""

    classes: Classes
    needs: tuple[tuple[tuple[int, ...], Classes], ...] = ()


@dataclass(frozen=True)
class Wiring:
    """What a recorded run showed, in classes.

    Attributes:
        count: classes are 0 … count − 1; 0 must stay.
        inputs: for every layer, the class of each of its inputs.
        outputs: for every layer, the class of each of its output channels.
        parameters: for other parameters and buffers (normalisations, embeddings …), their classes, of their shape.
        pinned: ``(count,)`` bool: what must stay.
        why: for every pinned class but 0, the reason.
        reads: ``(n, 2)``: the first class is needed while the second is.
        grids: see :class:`Grid`.
        shapes: ``(module, classes)`` of tensors that the module shaped itself.
        groups: group normalisations: classes of their channels, and the number of groups.
        chains: for layers that read one other layer's output linearly, that layer and the batch normalisations between.
        sources: for every layer, a number that says which tensor it read.
        reasons: for every layer none of whose output channels may go, why.
        outside: layers whose weight other code than their own forward read.
    """

    count: int = 1
    inputs: Mapping[str, Classes] = field(default_factory=dict)
    outputs: Mapping[str, Classes] = field(default_factory=dict)
    parameters: Mapping[str, Classes] = field(default_factory=dict)
    pinned: NDArray[np.bool_] = field(default_factory=lambda: np.ones(1, dtype=np.bool_))
    why: Mapping[int, str] = field(default_factory=dict)
    reads: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    grids: tuple[Grid, ...] = ()
    shapes: tuple[tuple[str, Classes], ...] = ()
    groups: Mapping[str, tuple[Classes, int]] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    outside: frozenset[str] = frozenset()

    @property
    def links(self) -> dict[str, tuple[Link, ...]]:
        """For every layer of whose output channels some may go, the layers that read them."""
        found = {}
        for name, classes in self.outputs.items():
            free = classes[~self.pinned[classes]]
            if len(free):
                readers = [
                    Link(reader, inputs)
                    for reader, inputs in self.inputs.items()
                    if reader != name and np.isin(inputs, free).any()
                ]
                found[name] = tuple(readers)
        return found

    def without(self, classes: Collection[int], reason: str) -> Wiring:
        """The same with more that must stay."""
        pinned = self.pinned.copy()
        pinned[list(classes)] = True
        why = {**dict.fromkeys(classes, reason), **self.why}
        reasons = dict(self.reasons)
        for name, outputs in self.outputs.items():
            if name not in reasons and np.isin(outputs, list(classes)).any():
                reasons[name] = reason
        values = {**self.__dict__, "pinned": pinned, "why": why, "reasons": reasons}
        return Wiring(**values)


def no_wiring(names: Collection[str], reason: str) -> Wiring:
    """Nothing may go: every layer keeps its output channels, and all of its inputs arrive."""
    return Wiring(reasons=dict.fromkeys(names, reason))


def wiring_of(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], fixed: Mapping[str, str] | None = None
) -> Wiring:
    """Run a network once, watched, and find which channels may go and what goes with them.

    Args:
        model: the network in eval mode, parametrizations removed; it is not modified.
        args: positional inputs to run it on.
        kwargs: inputs by name.
        fixed: modules that must stay as they are, with the reason.
    """
    fixed = fixed or {}
    names = list(registered_layers(model))
    try:
        found = record(model, args, kwargs, fixed, follow)
    except Exception as error:  # whatever a user's forward raises while it is watched
        return no_wiring(names, f"the network cannot be followed: {type(error).__name__}: {first_line(error)}")
    return _in_classes(found, names, fixed)


def _in_classes(found: Recording, names: list[str], fixed: Mapping[str, str]) -> Wiring:
    of = torch.from_numpy(partition(found.count, found.edges))

    def classes(ids: torch.Tensor) -> Classes:
        taken: Classes = of[ids].numpy()
        return taken

    count = int(of.max()) + 1
    pinned = np.zeros(count, dtype=np.bool_)
    pinned[FIXED] = True
    why: dict[int, str] = {}
    for ids, reason in found.pins:
        for number in np.unique(classes(ids)).tolist():
            pinned[number] = True
            why.setdefault(number, reason)
    outputs = {name: classes(ids) for name, ids in found.outputs.items()}
    reasons = {}
    for name in names:
        if name in fixed:
            reasons[name] = fixed[name]
        elif name not in outputs:
            reasons[name] = "it is not called (unused, or its weight is read by other code)"
        elif pinned[outputs[name]].all():
            known = (why[c] for c in outputs[name].tolist() if c in why)
            reasons[name] = next(known, "its output meets a tensor that must stay as it is")
    reads = torch.cat([torch.empty((0, 2), dtype=torch.int64), *found.reads])
    return Wiring(
        count,
        {name: classes(ids) for name, ids in found.inputs.items()},
        outputs,
        {name: classes(ids) for name, ids in found.parameters.items()},
        pinned,
        why,
        np.unique(classes(reads), axis=0),
        tuple(Grid(classes(g.ids), tuple((axes, classes(ids)) for axes, ids in g.needs)) for g in found.grids),
        tuple((resize.module, _grid_of(classes, resize.ids)) for resize in found.resizes),
        {name: (classes(ids), groups) for name, (ids, groups) in found.groups.items()},
        {name: chain for name, chain in found.chains.items() if found.calls[name] == found.calls[chain[0]] == 1},
        {name: number for name, number in found.sources.items() if found.calls[name] == 1},
        reasons,
        frozenset(found.outside),
    )


def _grid_of(classes: Any, ids: torch.Tensor) -> Classes:
    """Classes of a tensor, with one entry along the dimensions that have no channels but their true sizes kept."""
    found: Classes = np.broadcast_to(classes(_thin(ids)), ids.shape)
    return found


def _thin(ids: torch.Tensor) -> torch.Tensor:
    for dim in range(ids.ndim):
        if ids.shape[dim] > 1 and ids.stride(dim) == 0:
            ids = ids.narrow(dim, 0, 1)
    return ids
