"""What else follows when channels go: parameters of modules that are no layers, and numbers of sizes in modules."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from torch import nn

from torch_growl.networks.compaction.structure import SIZES_OF_PARAMETERS, AttributeChange, ParameterCut
from torch_growl.networks.wiring import Flags, Wiring

__all__ = ["changed_attributes", "cut_parameters"]

_OF_SIZES = re.compile("head|group|chan|dim|size|width|embed|inner|split|num|n_")


def cut_parameters(wiring: Wiring, needed: Flags) -> tuple[ParameterCut, ...]:
    """The parameters and buffers that lose channels; those of one module that lose the same are one entry."""
    found: dict[tuple[str, int, int, tuple[int, ...]], list[str]] = {}
    for full, classes in wiring.parameters.items():
        flags: Any = needed[classes]
        if flags.all():
            continue
        module, _, name = full.rpartition(".")
        for axis in range(flags.ndim):
            kept = flags.any(axis=tuple(other for other in range(flags.ndim) if other != axis))
            if not kept.all():
                key = (module, axis, len(kept), tuple(np.flatnonzero(kept).tolist()))
                found.setdefault(key, []).append(name)
    return tuple(
        ParameterCut(module, tuple(names), axis, size, kept) for (module, axis, size, kept), names in found.items()
    )


def changed_attributes(
    model: nn.Module, wiring: Wiring, needed: Flags, parameters: tuple[ParameterCut, ...], *, sizes: bool
) -> tuple[AttributeChange, ...]:
    """Numbers that must follow.

    Args:
        model: the dense network.
        wiring: of it.
        needed: which classes of channels are left.
        parameters: what is cut from parameters.
        sizes: whether modules that shaped a tensor themselves get their own numbers changed, where a number of theirs
            is one of the sizes that tensor had.
    """
    found: dict[tuple[str, str], AttributeChange] = {}

    def change(module: str, name: str, before: int, after: int) -> None:
        if before != after:
            found.setdefault((module, name), AttributeChange(module, name, before, after))

    for cut in parameters:
        for name in SIZES_OF_PARAMETERS:
            if vars(model.get_submodule(cut.module)).get(name) == cut.size:
                change(cut.module, name, cut.size, len(cut.kept))
    for where, (classes, groups) in wiring.group_norms.items():
        if type(model.get_submodule(where)) is nn.GroupNorm:
            change(where, "num_groups", groups, int(needed[classes.reshape(groups, -1)[:, 0]].sum()))
    if sizes:
        for where, mapping in _new_sizes(wiring, needed).items():
            for name, value in vars(model.get_submodule(where)).items():
                if type(value) is int and mapping.get(value) and _OF_SIZES.search(name):
                    change(where, name, value, mapping[value])
    return tuple(found.values())


def _new_sizes(wiring: Wiring, needed: Flags) -> dict[str, dict[int, int]]:
    """For every module that shaped tensors: sizes that are smaller now, where that has one answer (else 0)."""
    found: dict[str, dict[int, int]] = {}
    for module, classes in wiring.resizes:
        mapping = found.setdefault(module, {})
        thin: Any = classes[tuple(slice(None) if step else slice(1) for step in classes.strides)]
        flags = needed[thin]
        for axis, size in enumerate(classes.shape):
            left = int(flags.any(axis=tuple(other for other in range(flags.ndim) if other != axis)).sum())
            if flags.shape[axis] > 1 and left != size:
                mapping[size] = left if mapping.get(size, left) == left else 0
    return found
