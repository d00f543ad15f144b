"""Planning: the structure of the compact network follows from zero rows, bit-equal rows and the wiring.

:mod:`torch_growl.networks.wiring.needed` finds the output channels that are needed. Among the remaining rows of every
layer, zero rows are removed and the inputs of bit-equal rows are summed. Parameters of other modules (normalisations,
embeddings) lose the same channels, and attributes that hold sizes follow.
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
from torch_growl.networks.compaction.folding import constants_left
from torch_growl.networks.compaction.inputs import index_bytes
from torch_growl.networks.compaction.shrinking import cut_channels, fed_groups
from torch_growl.networks.compaction.structure import (
    SIZES_OF_PARAMETERS,
    AttributeChange,
    Form,
    LayerCut,
    ModuleCut,
    ParameterCut,
    Structure,
)
from torch_growl.networks.layers import kind_of, registered_kind, row_blocks, rows_of
from torch_growl.networks.wiring import Flags, Wiring, left_along, needed_channels

__all__ = ["fixed_modules", "plan_structure", "why_unchanged"]

_OF_SIZES = re.compile("head|group|chan|dim|size|width|embed|inner|split|num|n_")
_OF_ONE = re.compile("dim|size|width|d_")  # of one head or group, not the number of them
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fixed_modules(model: nn.Module) -> dict[str, str]:
    """Find the modules that must not be changed, with the reason: shared parameters, hooks, no floating weight."""
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
    """Find the smallest structure that the weights and the wiring allow.

    Args:
        model: the dense network; not modified.
        layers: every layer of a registered type by name; not modified.
        wiring: the channels that can only be removed together, and those that cannot be removed.
        fixed: layers that must not be changed, with the reason.
        round_to: numbers of rows and output channels are rounded up to a multiple of this, at most to the layer's own.
        sizes: whether to change attributes of modules that hold removed sizes (heads, groups).

    Returns:
        The structure, and a flag for each class of channels: whether it is needed.
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
        left = constants_left(module, wiring.constants[name]) if name in wiring.constants else 0
        constant = f"{left} of its inputs are constant, but their effect differs at the border (padding)"
        reason = "; ".join(text for text in (why, constant if left else "", wiring.reasons.get(name, "")) if text)
        cuts.append(replace(cut, form=form, reason=reason))
    cuts = _shared(cuts, wiring)
    parameters = _cut_parameters(wiring, needed)
    attributes = _changed_attributes(model, wiring, needed, parameters, sizes=sizes)
    return Structure(tuple(cuts), parameters, attributes, _cut_modules(wiring, needed)), needed


def _shared(cuts: list[LayerCut], wiring: Wiring) -> list[LayerCut]:
    """Set ``shares`` of every layer that selects or sums the same inputs of the same tensor as an earlier layer."""
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
    """Find the arriving inputs to remove or sum, if that saves more bytes than the index needs; else the reason."""
    if cut.groups == 1 and cut.kept is not None:
        rows = row_blocks(module, "input").detach()[0]  # (inputs, outputs, …)
        rows = rows.index_select(1, torch.tensor(cut.kept, device=rows.device)).flatten(1)
    else:
        rows = rows_of(cut_channels(module, cut)).detach()
    if cut.arriving is not None and cut.groups_left is None:
        rows = rows[torch.tensor(cut.arriving, device=rows.device)]
    arriving, groups = len(rows), cut.groups_after
    found = Partition.from_rows(rows).labels
    per_group = arriving // groups
    slots: list[dict[int, int]] = []  # for each group: the number of every label in it
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
        else:  # a group of zero rows keeps its first row
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
        fewer = arriving - smaller.width
        some = "1 row" if fewer == 1 else f"{fewer} rows"
        few = f"{some} could be removed, but their index would need more bytes than it saves"
        return as_it_is, "; ".join(text for text in (why, few) if text)
    return smaller, why


def _cut_parameters(wiring: Wiring, needed: Flags) -> tuple[ParameterCut, ...]:
    """Find the parameters and buffers that lose channels; those of one module with the same removal are one entry."""
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


def _cut_modules(wiring: Wiring, needed: Flags) -> tuple[ModuleCut, ...]:
    """Find the modules that pad or slice channels by number of which some are removed."""

    def left(classes: Any) -> tuple[int, ...] | None:
        return None if needed[classes].all() else tuple(np.flatnonzero(needed[classes]).tolist())

    cuts = [
        ModuleCut(name, own.dim, len(own.inputs), len(own.outputs), left(own.inputs), left(own.outputs))
        for name, own in wiring.numbered.items()
    ]
    return tuple(cut for cut in cuts if (cut.arriving, cut.kept) != (None, None))


def _changed_attributes(
    model: nn.Module, wiring: Wiring, needed: Flags, parameters: tuple[ParameterCut, ...], *, sizes: bool
) -> tuple[AttributeChange, ...]:
    """Find the attributes that hold a removed size.

    Args:
        model: the dense network.
        wiring: the wiring of ``model``.
        needed: for each class of channels, whether it is needed.
        parameters: the channels removed from parameters.
        sizes: whether to also change attributes of modules that reshape a tensor themselves, if their value is a
            removed size of that tensor and their name is that of a size.
    """
    found: dict[tuple[str, str], AttributeChange] = {}

    def change(module: str, name: str, before: int, after: int) -> None:
        if before != after:
            found.setdefault((module, name), AttributeChange(module, name, before, after))

    for cut in parameters:
        for name in SIZES_OF_PARAMETERS:
            if vars(model.get_submodule(cut.module)).get(name) == cut.size:
                change(cut.module, name, cut.size, len(cut.kept))
    for where, classes in wiring.normalised.items():
        name = "num_channels" if isinstance(model.get_submodule(where), nn.GroupNorm) else "num_features"
        change(where, name, len(classes), int(needed[classes].sum()))
    for where, (classes, groups) in wiring.group_norms.items():
        if type(model.get_submodule(where)) is nn.GroupNorm:
            change(where, "num_groups", groups, int(needed[classes.reshape(groups, -1)[:, 0]].sum()))
    if sizes:
        for where, (mapping, kept) in _new_sizes(wiring, needed).items():
            for name, value in vars(model.get_submodule(where)).items():
                size = value if type(value) is int and _OF_SIZES.search(name) else 0
                stays = size in kept and _OF_ONE.search(name)  # as many heads as each has values
                if mapping.get(size) and not stays:
                    change(where, name, size, mapping[size])
    return tuple(found.values())


def _new_sizes(wiring: Wiring, needed: Flags) -> dict[str, tuple[dict[int, int], set[int]]]:
    """The new size of each changed size, for every module that reshapes tensors; 0 if there is more than one answer.

    Beside them, the sizes of dimensions with channels that stay as they are.
    """
    found: dict[str, tuple[dict[int, int], set[int]]] = {}
    for module, classes in wiring.resizes:
        mapping, kept = found.setdefault(module, ({}, set()))
        for size, step, left in zip(classes.shape, classes.strides, left_along(needed, classes), strict=True):
            if size == 1 or not step:  # along this dimension there are no channels
                continue
            if left != size:
                mapping[size] = left if mapping.get(size, left) == left else 0
            else:
                kept.add(size)
    return found


def why_unchanged(plan: Structure) -> str:
    """Return the text of the warning that nothing can be removed."""
    text = "no zero rows and no bit-equal rows: the network is returned unchanged (a copy)"
    if any("could be removed, but their index" in layer.reason for layer in plan.layers):
        text = "no removal saves more bytes than its index needs: the network is returned unchanged (a copy)"
    return text + "; structure_of(...) has the reason for each layer"
