"""The wiring of a network: which layers make and read each channel, found by recording one run.

Channels that can only be removed together (they are added to one another, normalised as one group, belong to one group
of a convolution …) are one *class*. The channels of class 0 must stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from torch_growl.errors import first_line
from torch_growl.networks.execution import Inputs
from torch_growl.networks.layers import registered_layers
from torch_growl.networks.wiring.identities import FIXED, Classes, connected_classes, thin
from torch_growl.networks.wiring.operations import follow
from torch_growl.networks.wiring.recording import LinearChain, Recording
from torch_growl.networks.wiring.watching import record

__all__ = ["Grid", "Link", "Numbered", "Wiring", "no_wiring", "wiring_of"]


@dataclass(frozen=True)
class Link:
    """A layer that reads another layer's output channels, and the class of each of its inputs."""

    consumer: str
    inputs: Classes


@dataclass(frozen=True)
class Grid:
    """The classes of a tensor of which a grid must be left.

    Attributes:
        classes: those of its elements, with only the dimensions that have channels.
        needs: ``(axes, classes)`` of other tensors along these axes; while they are needed, so are the slices that they
            meet.
    """

    classes: Classes
    needs: tuple[tuple[tuple[int, ...], Classes], ...] = ()


@dataclass(frozen=True)
class Numbered:
    """A module without parameters that pads or slices channels by number: their dimension, counted from the end, and
    the classes along it of its input and its output."""

    dim: int
    inputs: Classes
    outputs: Classes


@dataclass(frozen=True)
class Wiring:
    """The result of a recorded run, in classes.

    Attributes:
        count: classes are 0 … count − 1; 0 must stay.
        inputs: for every layer, the class of each of its inputs.
        outputs: for every layer, the class of each of its output channels.
        parameters: for other parameters and buffers (normalisations, embeddings …), their classes, of their shape.
        pinned: ``(count,)`` bool: the classes that must stay.
        why: for every pinned class but 0, the reason.
        reads: ``(n, 2)``: the first class is needed while the second is.
        grids: tensors of which a grid must be left.
        resizes: ``(module, classes)`` of tensors that the module shaped itself.
        numbered: modules without parameters that pad or slice channels by number.
        group_norms: group normalisations by name: classes of their channels, and the number of groups.
        normalised: normalisations of torch without parameters and buffers by name: classes of their channels.
        attentions: for attentions of torch by name, the classes of their heads.
        chains: for layers whose input follows linearly from one other layer's output, the way there.
        sources: for every layer, the numbers of the tensors that it read, one for each run.
        reasons: for every layer whose output channels all stay, why.
        outside: layers whose weight other code than their own forward read.
        constants: for every layer, the values of its constant inputs, NaN for all others.
    """

    count: int = 1
    inputs: Mapping[str, Classes] = field(default_factory=dict)
    outputs: Mapping[str, Classes] = field(default_factory=dict)
    parameters: Mapping[str, Classes] = field(default_factory=dict)
    pinned: NDArray[np.bool_] = field(default_factory=lambda: np.ones(1, dtype=np.bool_))
    why: Mapping[int, str] = field(default_factory=dict)
    reads: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    grids: tuple[Grid, ...] = ()
    resizes: tuple[tuple[str, Classes], ...] = ()
    numbered: Mapping[str, Numbered] = field(default_factory=dict)
    group_norms: Mapping[str, tuple[Classes, int]] = field(default_factory=dict)
    normalised: Mapping[str, Classes] = field(default_factory=dict)
    attentions: Mapping[str, Classes] = field(default_factory=dict)
    chains: Mapping[str, LinearChain] = field(default_factory=dict)
    sources: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    outside: frozenset[str] = frozenset()
    constants: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def links(self) -> dict[str, tuple[Link, ...]]:
        """For every layer with output channels that may be removed, the layers that read them."""
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

    @property
    def heads(self) -> list[tuple[int, Classes]]:
        """For every class of an attention's scores, a head, the classes of its values; queries and keys are read by
        it."""
        held = {*(c for own in (*self.inputs.values(), *self.outputs.values()) for c in own.tolist()), FIXED}
        packed = np.concatenate([np.empty(0, dtype=np.int64), *self.attentions.values()])
        reads = self.reads[~np.isin(self.reads[:, 0], packed)]  # a packed attention's heads are read by its weights
        found = []
        for scores in np.unique(reads[:, 0]).tolist():
            values = reads[reads[:, 0] == scores, 1]
            if scores not in held and len(values) > 1 and (reads[:, 1] == scores).any():
                found.append((scores, values))
        return found

    def with_whole_heads(self) -> Wiring:
        """The same wiring in which a head's values can only be removed together, with its queries and keys."""
        pairs = [np.stack([values, np.full_like(values, scores)], axis=1) for scores, values in self.heads]
        return replace(self, reads=np.unique(np.concatenate([self.reads, *pairs]), axis=0)) if pairs else self

    def without(self, classes: Collection[int], reason: str) -> Wiring:
        """The same wiring with more classes that must stay, for a reason."""
        pinned = self.pinned.copy()
        pinned[list(classes)] = True
        why = {**dict.fromkeys(classes, reason), **self.why}
        reasons = dict(self.reasons)
        for name, outputs in self.outputs.items():
            if name not in reasons and np.isin(outputs, list(classes)).any():
                reasons[name] = reason
        return replace(self, pinned=pinned, why=why, reasons=reasons)


def no_wiring(names: Collection[str], reason: str) -> Wiring:
    """A wiring in which every layer keeps its output channels and all of its inputs."""
    return Wiring(reasons=dict.fromkeys(names, reason))


def wiring_of(model: nn.Module, examples: Sequence[Inputs], fixed: Mapping[str, str] | None = None) -> Wiring:
    """Run a network once on each example and find which channels may be removed, and which only together.

    Args:
        model: the network in eval mode, parametrizations removed; it is not modified.
        examples: positional and named inputs to run it on; copies are passed.
        fixed: modules that must stay as they are, with the reason.
    """
    fixed = fixed or {}
    names = list(registered_layers(model))
    try:
        found = record(model, examples, fixed, follow)
    except Exception as error:  # any error of a user's forward
        return no_wiring(names, f"the network cannot be followed: {type(error).__name__}: {first_line(error)}")
    return _in_classes(found, names, fixed)


def _in_classes(found: Recording, names: list[str], fixed: Mapping[str, str]) -> Wiring:
    """The wiring that a recording shows."""
    of = torch.from_numpy(connected_classes(found.count, found.edges))

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
            padded = f"; {found.padded[0]} pads channels: write this as a module of its own" if found.padded else ""
            reasons[name] = next(known, f"its output meets a tensor that must stay as it is{padded}")
    reads = torch.cat([torch.empty((0, 2), dtype=torch.int64), *found.reads])
    return Wiring(
        count,
        {name: classes(ids) for name, ids in found.inputs.items()},
        outputs,
        {name: _grid_of(classes, ids) for name, ids in found.parameters.items()},
        pinned,
        why,
        np.unique(classes(reads), axis=0),
        tuple(Grid(classes(g.ids), tuple((axes, classes(ids)) for axes, ids in g.needs)) for g in found.grids),
        tuple((resize.module, _grid_of(classes, resize.ids)) for resize in found.resizes),
        {name: Numbered(own.dim, classes(own.inputs), classes(own.outputs)) for name, own in found.numbered.items()},
        {name: (classes(ids), groups) for name, (ids, groups) in found.group_norms.items()},
        {name: classes(ids) for name, ids in found.normalised.items() if ids is not None},
        {name: classes(ids) for name, ids in found.heads.items()},
        {
            name: chain
            for name, chain in found.chains.items()
            if chain is not None and found.calls[name] == found.calls[chain.source] == 1
        },
        {name: numbers for name, numbers in found.sources.items() if found.calls[name] == 1},
        reasons,
        frozenset(found.outside),
        found.constants,
    )


def _grid_of(classes: Any, ids: torch.Tensor) -> Classes:
    """The classes of a tensor in its true shape, broadcast along the dimensions that have no channels."""
    found: Classes = np.broadcast_to(classes(thin(ids)), ids.shape)
    return found
