"""The channels that are needed, found from those that must stay and the nonzero weights, back through every layer.

A channel is needed when a layer has a nonzero weight from it to an output channel that is needed, when a channel that
reads it is needed, or when the elements left of a tensor would not form a grid without it. Removing all other channels
does not change the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torch_growl.networks.layers import registered_kind, row_blocks
from torch_growl.networks.wiring.identities import Classes, connected_classes
from torch_growl.networks.wiring.wiring import Grid, Wiring

__all__ = ["Flags", "bundles", "connections", "left_along", "needed_among", "needed_channels"]

Flags = NDArray[np.bool_]


def connections(module: nn.Module) -> Flags:
    """Tell whether an ungrouped layer has a nonzero weight from each input to each output: ``(inputs, outputs)``."""
    rows, outputs = row_blocks(module, "input").detach()[0], registered_kind(module).n_rows(module, "output")
    if rows.shape[1] != outputs:  # the rows of a registered type need not list output channels
        return cast(Flags, (rows.flatten(1) != 0).any(dim=1, keepdim=True).expand(-1, outputs).cpu().numpy())
    nonzero = rows != 0
    return cast(Flags, (nonzero.flatten(2).any(dim=2) if nonzero.ndim > 2 else nonzero).cpu().numpy())


def left_along(needed: Flags, classes: Classes) -> list[int]:
    """The entries of a tensor that are left along each of its dimensions, all along those that have no channels.

    Args:
        needed: for every class whether it is needed.
        classes: those of the tensor's elements, broadcast along the dimensions that have no channels.
    """
    flags = needed[classes[tuple(slice(None) if step else slice(1) for step in classes.strides)]]
    axes = range(flags.ndim)
    return [
        int(flags.any(axis=tuple(other for other in axes if other != axis)).sum())
        * (classes.shape[axis] // flags.shape[axis])
        for axis in axes
    ]


def needed_channels(layers: Mapping[str, nn.Module], wiring: Wiring, round_to: int = 1) -> Flags:
    """The classes of channels that are needed: ``(wiring.count,)``.

    Args:
        layers: every layer of a registered type by name; not modified.
        wiring: of the network.
        round_to: the number of output channels that a layer keeps is a multiple of this, if it has that many.
    """
    links = {
        name: connections(layers[name])
        for name in wiring.inputs
        if registered_kind(layers[name]).groups(layers[name]) == 1
    }
    return needed_among(links, wiring, round_to)


def needed_among(links: Mapping[str, Flags], wiring: Wiring, round_to: int = 1) -> Flags:
    """The classes of channels that are needed if the layers have these nonzero weights: ``(wiring.count,)``.

    Args:
        links: for every ungrouped layer of the wiring, :func:`connections`.
        wiring: as for :func:`needed_channels`.
        round_to: as for :func:`needed_channels`.
    """
    needed = wiring.pinned.copy()
    while True:
        _settle(needed, wiring, links)
        if not _round_up(needed, wiring, round_to):
            return needed


def _settle(needed: Flags, wiring: Wiring, links: Mapping[str, Flags]) -> None:
    """Mark more classes as needed, until nothing changes any more."""
    before = -1
    while before != (before := int(needed.sum())):
        for name in reversed(list(wiring.outputs)):
            inputs, outputs = wiring.inputs[name], wiring.outputs[name]
            if name in links:
                used = links[name][:, needed[outputs]].any(axis=1)
                needed[inputs[used]] = True
        needed[wiring.reads[needed[wiring.reads[:, 1]], 0]] = True
        for grid in wiring.grids:
            _complete(needed, grid)
        if before == int(needed.sum()):
            _leave_none_empty(needed, wiring)


def _leave_none_empty(needed: Flags, wiring: Wiring) -> None:
    """Mark the first channel of the last layer or parameter of which nothing is needed."""
    for name in reversed(list(wiring.outputs)):
        for classes in (wiring.outputs[name], wiring.inputs[name]):
            if not needed[classes].any():
                needed[classes[0]] = True
                return
    numbered = [classes for own in wiring.numbered.values() for classes in (own.outputs, own.inputs)]
    for classes in (*wiring.parameters.values(), *numbered):
        if not needed[classes].any():
            needed[classes.flat[0]] = True
            return


def _complete(needed: Flags, grid: Grid) -> None:
    """Mark the elements of a tensor that complete its needed ones to a grid."""
    flags = needed[grid.classes]
    axes = range(flags.ndim)
    kept = [flags.any(axis=tuple(other for other in axes if other != axis)) for axis in axes]
    for where, classes in grid.needs:
        held = needed[classes]
        for place, axis in enumerate(where):
            kept[axis] = kept[axis] | held.any(axis=tuple(other for other in range(held.ndim) if other != place))
    if not all(line.any() for line in kept):
        return
    whole = np.ix_(*kept)
    if not flags[whole].all():
        needed[grid.classes[whole]] = True


def _round_up(needed: Flags, wiring: Wiring, round_to: int) -> bool:
    """Mark more channels of the first layer that does not keep a multiple; return whether there was one."""
    if round_to == 1:
        return False
    for outputs in wiring.outputs.values():
        left = int(needed[outputs].sum())
        missing = min(-left % round_to, len(outputs) - left)
        if missing and len(outputs) >= round_to:
            needed[outputs[~needed[outputs]][:missing]] = True
            return True
    return False


def bundles(wiring: Wiring, needed: Flags) -> list[list[int]]:
    """The classes that are not needed, in sets that are removed together: of one layer, one tensor, one attention."""
    edges: list[Tensor] = []

    def join(classes: NDArray[np.int64]) -> None:
        gone = np.unique(classes[~needed[classes]])
        if len(gone) > 1:
            edges.append(torch.from_numpy(np.stack([gone[:-1], gone[1:]], axis=1)))

    for classes in [*wiring.outputs.values(), *wiring.parameters.values(), *(grid.classes for grid in wiring.grids)]:
        join(classes)
    for pair in wiring.reads:
        join(pair)
    set_of = connected_classes(wiring.count, edges)
    gone = np.flatnonzero(~needed)
    found: dict[int, list[int]] = {}
    for number in gone.tolist():
        found.setdefault(int(set_of[number]), []).append(number)
    return list(found.values())
