"""What can go, read off the weights: from zero rows, bit-equal rows and the wiring to a network's structure.

Which output channels go is :mod:`torch_growl.networks.wiring.needed`'s answer; without them, the rows of every layer
are read for what it can drop or sum by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from torch_growl.mathematics.clustering import PRUNED, Partition
from torch_growl.networks.compaction.inputs import index_bytes
from torch_growl.networks.compaction.shrinking import cut_channels, fed_groups
from torch_growl.networks.compaction.structure import (
    SIZES_OF_PARAMETERS,
    AttributeChange,
    Form,
    LayerCut,
    ParameterCut,
    Structure,
)
from torch_growl.networks.layers import kind_of, registered_kind, rows_of
from torch_growl.networks.wiring import Flags, Wiring, needed_channels

__all__ = ["fixed_modules", "plan_structure"]

_OF_SIZES = re.compile("head|group|chan|dim|size|width|embed|inner|split|num|n_")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fixed_modules(model: nn.Module) -> dict[str, str]:
    """Modules that must stay as they are, with the reason: shared parameters, hooks, no floating weight."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(f"{name}.{key}" if name else key)
    reasons = {}
    for name, module in model.named_modules():
        shared = [owners[id(p)] for p in module._parameters.values() if p is not None and len(owners[id(p)]) > 1]
        weight = module._parameters.get("weight")
        if shared:
            reasons[name] = f"a parameter is shared: {' = '.join(shared[0])}"
        elif kind_of(module) is None:
            continue
        elif weight is None or is_lazy(weight) or not weight.is_floating_point() or not weight.numel():
            reasons[name] = "it has no floating-point parameter named weight, or an empty one"
        elif any(getattr(module, hooks, None) for hooks in _HOOKS):
            reasons[name] = "it has hooks, which a smaller layer would lose"
    return reasons


@torch.no_grad()
def plan_structure(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    wiring: Wiring,
    fixed: Mapping[str, str],
    *,
    round_to: int = 1,
    sizes: bool = False,
) -> tuple[Structure, Flags]:
    """The structure that the weights allow.

    Args:
        model: the dense network; not modified.
        layers: every layer of a registered type by name; not modified.
        wiring: which channels go together, and which must stay.
        fixed: layers that stay as they are, with the reason.
        round_to: rows and output channels that are left are a multiple of this where there are so many.
        sizes: whether numbers that modules keep about sizes (heads, groups) follow what is cut.

    Returns:
        The structure, and which classes of channels are needed.
    """
    needed = needed_channels(layers, wiring, round_to)
    cuts = []
    for name, module in layers.items():
        cut = _channels_left(name, module, wiring, needed)
        if name in fixed:
            cuts.append(replace(cut, reason=fixed[name]))
            continue
        cut, why = _read_rows(cut, module, round_to)
        full = cut.kept is not None or cut.arriving is not None
        form: Form = "full" if full else "local" if cut.labels is not None else "none"
        reason = "; ".join(text for text in (why, wiring.reasons.get(name, "")) if text)
        cuts.append(replace(cut, form=form, reason=reason))
    cuts = _shared(cuts, wiring)
    parameters = _cut_parameters(wiring, needed)
    attributes = _changed_attributes(model, wiring, needed, parameters, sizes=sizes)
    return Structure(tuple(cuts), parameters, attributes), needed


def _shared(cuts: list[LayerCut], wiring: Wiring) -> list[LayerCut]:
    """Name, for every layer that reads what another one before it reads and takes the same of it, that one."""
    first: dict[tuple[object, ...], str] = {}
    found = []
    for cut in cuts:
        number = wiring.sources.get(cut.name)
        if cut.labels is not None and number is not None and cut.groups == 1:
            owner = first.setdefault((number, cut.arriving, cut.labels), cut.name)
            cut = cut if owner == cut.name else replace(cut, shares=owner)
        found.append(cut)
    return found


def _channels_left(name: str, module: nn.Module, wiring: Wiring, needed: Flags) -> LayerCut:
    inputs, outputs, groups = registered_kind(module).sizes(module)
    cut = LayerCut(name, inputs, outputs, groups, None, inputs)
    if name not in wiring.inputs:
        return cut
    arriving, kept = needed[wiring.inputs[name]], needed[wiring.outputs[name]]
    if not arriving.all():
        cut = replace(cut, arriving=tuple(np.flatnonzero(arriving).tolist()), width=int(arriving.sum()))
    if not kept.all():
        cut = replace(cut, kept=tuple(np.flatnonzero(kept).tolist()))
        if groups > 1:
            cut = replace(cut, groups_left=int(kept.reshape(groups, -1)[:, 0].sum()))
    return cut


def _read_rows(cut: LayerCut, module: nn.Module, round_to: int) -> tuple[LayerCut, str]:
    """Which arriving inputs are dropped or summed, where that saves more than its index takes; and what to say."""
    rows = rows_of(cut_channels(module, cut)).detach()
    if cut.arriving is not None and cut.groups_left is None:
        rows = rows[torch.tensor(cut.arriving, device=rows.device)]
    arriving, groups = len(rows), cut.groups_after
    found = Partition.from_rows(rows).labels
    per_group = arriving // groups
    slots: list[dict[int, int]] = []  # of each group: the number of every label in it
    for group in range(groups):
        own = found[group * per_group : (group + 1) * per_group]
        slots.append(
            {label: number for number, label in enumerate(dict.fromkeys(label for label in own if label != PRUNED))}
        )
    why = "" if any(slots) else "all its rows are zero; one is kept"
    most = max(1, *map(len, slots))
    most = min(per_group, -(-most // round_to) * round_to)
    labels: list[int] = []
    for place, label in enumerate(found):
        group = place // per_group
        if label != PRUNED:
            labels.append(group * most + slots[group][label])
        else:  # a group without nonzero rows keeps its first
            labels.append(group * most if not slots[group] and place % per_group == 0 else PRUNED)
    smaller = replace(cut, labels=tuple(labels), width=most * groups)
    as_it_is = replace(cut, width=arriving)
    saved = (arriving - smaller.width) * rows.shape[1] * rows.element_size()
    if not saved:
        return as_it_is, why
    members: list[list[int]] = [[] for _ in range(smaller.width)]
    for place, label in enumerate(labels):
        if label != PRUNED:
            members[label].append(place)
    cost = index_bytes(fed_groups(members, groups, arriving), arriving)
    if cost >= saved:
        few = f"{arriving - smaller.width} rows could go, but their index would take more bytes than they do"
        return as_it_is, "; ".join(text for text in (why, few) if text)
    return smaller, why


def _cut_parameters(wiring: Wiring, needed: Flags) -> tuple[ParameterCut, ...]:
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


def _changed_attributes(
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
