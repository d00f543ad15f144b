"""What can go, read off the weights: from zero rows, bit-equal rows and the wiring to a network's structure.

An output channel goes when all rows of all its readers that it feeds are zero. Without it some rows of the layer
that made it may become zero in turn, so that rows are read again until nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torch_growl.graph import Wiring
from torch_growl.inputs import index_bytes
from torch_growl.layers import LayerKind, Side, kind_of, rows_of
from torch_growl.partition import PRUNED, Partition
from torch_growl.rewriting import cut_outputs, fed_groups
from torch_growl.structure import Form, LayerCut, NormCut, Structure

__all__ = ["fixed_modules", "plan_structure"]

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
def plan_structure(layers: Mapping[str, nn.Module], wiring: Wiring, fixed: Mapping[str, str]) -> Structure:
    """The structure that the weights allow.

    Args:
        layers: every layer of a registered type by name; not modified.
        wiring: which output channels may be cut.
        fixed: layers that stay as they are, with the reason.
    """
    kept, restricted = _cascade(layers, wiring)
    sources = {link.consumer: (producer, link.block) for producer in kept for link in wiring.links[producer]}
    cuts = []
    for name, module in layers.items():
        inputs, outputs, groups = (_count(module, "input"), _count(module, "output"), _groups(module))
        source, block = sources.get(name, (None, 1))
        cut = LayerCut(name, inputs, outputs, groups, None, inputs, kept.get(name), source, block)
        if name in fixed:
            cuts.append(replace(cut, reason=fixed[name]))
            continue
        arriving = [c * block + offset for c in kept[source] for offset in range(block)] if source else range(inputs)
        cut, why = _read_rows(cut, restricted[name], list(arriving))
        form: Form = "full" if cut.kept is not None or source else "local" if cut.labels is not None else "none"
        reason = "; ".join(text for text in (why, wiring.reasons.get(name, "")) if text)
        cuts.append(replace(cut, form=form, reason=reason))
    norms = tuple(
        NormCut(name, _count(layers[producer], "output") * block, producer, block)
        for producer in wiring.links
        if producer in kept
        for name, block in wiring.norms[producer]
    )
    return Structure(tuple(cuts), norms)


def _cascade(
    layers: Mapping[str, nn.Module], wiring: Wiring
) -> tuple[dict[str, tuple[int, ...]], dict[str, nn.Module]]:
    """The output channels that are left of each layer that loses some, and every layer restricted to them."""
    kept: dict[str, tuple[int, ...]] = {}
    restricted = dict(layers)
    changed = True
    while changed:
        changed = False
        for producer, links in reversed(list(wiring.links.items())):
            outputs = _count(layers[producer], "output")
            needed = torch.zeros(outputs, dtype=torch.bool)
            for link in links:
                used = (rows_of(restricted[link.consumer]).detach() != 0).any(dim=1).cpu()
                needed |= used.reshape(outputs, link.block).any(dim=1)
            before = kept.get(producer, tuple(range(outputs)))
            left = tuple(channel for channel in before if needed[channel]) or before[:1]
            if len(left) < len(before):
                kept[producer] = left
                restricted[producer] = cut_outputs(layers[producer], left)
                changed = True
    return kept, restricted


def _read_rows(cut: LayerCut, layer: nn.Module, arriving: Sequence[int]) -> tuple[LayerCut, str]:
    """Which arriving inputs are dropped or summed, where that saves more than its index takes; and what to say."""
    rows = rows_of(layer).detach()
    found = Partition.from_rows(rows).labels
    per_group = len(arriving) // cut.groups
    slots: list[dict[int, int]] = []  # of each group: the number of every label in it
    for group in range(cut.groups):
        own = (found[index] for index in arriving[group * per_group : (group + 1) * per_group])
        slots.append(
            {label: number for number, label in enumerate(dict.fromkeys(label for label in own if label != PRUNED))}
        )
    why = "" if any(slots) else "all its rows are zero; one is kept"
    most = max(1, *map(len, slots))
    labels: list[int] = []
    for place, index in enumerate(arriving):
        group, label = place // per_group, found[index]
        if label != PRUNED:
            labels.append(group * most + slots[group][label])
        else:  # a group without nonzero rows keeps its first
            labels.append(group * most if not slots[group] and place % per_group == 0 else PRUNED)
    smaller = replace(cut, labels=tuple(labels), width=most * cut.groups)
    as_it_is = replace(cut, width=len(arriving))
    saved = (len(arriving) - smaller.width) * rows.shape[1] * rows.element_size()
    if not saved:
        return as_it_is, why
    members: list[list[int]] = [[] for _ in range(smaller.width)]
    for place, label in enumerate(labels):
        if label != PRUNED:
            members[label].append(place)
    cost = index_bytes(fed_groups(members, cut.groups, len(arriving)), len(arriving))
    if cost >= saved:
        few = f"{len(arriving) - smaller.width} rows could go, but their index would take more bytes than they do"
        return as_it_is, "; ".join(text for text in (why, few) if text)
    return smaller, why


def _count(module: nn.Module, side: Side) -> int:
    blocks = cast(LayerKind, kind_of(module)).blocks(module, cast(Tensor, module.weight), side)
    return blocks.shape[0] * blocks.shape[1]


def _groups(module: nn.Module) -> int:
    return cast(LayerKind, kind_of(module)).groups(module)
