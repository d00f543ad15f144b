"""Carrying a structure out: a dense network made small, values included, and a small one's values put back.

Both :func:`torch_growl.compact` and :func:`torch_growl.load` make their networks here, so that what is saved is what
comes back.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from torch_growl.networks.compaction.inputs import make_inputs
from torch_growl.networks.compaction.shared_inputs import SharedInputs
from torch_growl.networks.compaction.structure import LayerCut, ParameterCut, Structure, record_, structure_of
from torch_growl.networks.layers import registered_kind, row_blocks, write_rows_

__all__ = ["FedLayer", "cut_channels", "expand_", "fed_groups", "shrink_"]


class FedLayer(nn.Sequential):
    """A smaller layer behind the module ``inputs`` that chooses or sums what it reads.

    Code that looks at a layer's weight, for its type or device, finds the smaller one's.
    """

    @property
    def weight(self) -> Tensor:
        """The smaller layer's weight."""
        return cast(Tensor, self.get_submodule("layer").weight)

    @property
    def bias(self) -> Tensor | None:
        """The smaller layer's bias."""
        return cast("Tensor | None", self.get_submodule("layer").bias)


def replace_(model: nn.Module, name: str, new: nn.Module) -> nn.Module:
    """Put a module in another's place, under all of its names; returns the network."""
    old = model.get_submodule(name)
    if old is model:
        return new
    for parent in list(model.modules()):
        for key, child in list(parent._modules.items()):
            if child is old:
                parent._modules[key] = new
    return model


@torch.no_grad()
def shrink_(model: nn.Module, plan: Structure) -> nn.Module:
    """Make a dense network small, values included.

    Args:
        model: the dense network; modified in place. A network that *is* one layer is returned as a new one.
        plan: its structure.
    """
    replaced: dict[int, nn.Parameter] = {}  # a parameter under several names stays one
    for cut in plan.parameters:
        _cut_parameters_(model.get_submodule(cut.module), cut, replaced)
    for change in plan.attributes:
        setattr(model.get_submodule(change.module), change.name, change.after)
    for layer in plan.layers:
        if layer.changed:
            model = replace_(model, layer.name, _smaller(model.get_submodule(layer.name), layer))
    readers: dict[str, list[str]] = {}
    for layer in plan.layers:
        if layer.shares is not None:
            readers.setdefault(layer.shares, [layer.shares]).append(layer.name)
    for first, names in readers.items():
        shared = SharedInputs(model.get_submodule(f"{first}.inputs"), len(names))
        shared.training = shared.inputs.training
        for name in names:
            model.get_submodule(name).add_module("inputs", shared)
    return record_(model, plan)


@torch.no_grad()
def _smaller(old: nn.Module, layer: LayerCut) -> nn.Module:
    kind = registered_kind(old)
    arriving = layer.arrivals
    position = {index: place for place, index in enumerate(arriving)}
    slots = [[position[index] for index in members] for members in layer.slots]
    fed = fed_groups(slots, layer.groups_after, len(arriving))
    weight = cast(Tensor, old.weight)
    cut = cut_channels(old, layer)
    new = kind.resized(cut, layer.width, layer.outputs_left)
    rows = row_blocks(cut, "input").flatten(0, 1)
    if layer.groups_left is None:
        rows = rows[torch.tensor(list(arriving), device=rows.device)] if layer.arriving is not None else rows
    chosen = rows[torch.tensor([members[0] for members in fed], device=rows.device)]
    padding = [number for number, slot in enumerate(slots) if not slot]
    chosen[torch.tensor(padding, dtype=torch.int64, device=rows.device)] = 0
    write_rows_(new, chosen)
    if getattr(new, "bias", None) is not None:
        cast(Tensor, new.bias).copy_(cast(Tensor, cut.bias))
    _carry_(old, new, weight)

    device = None if weight.is_meta else weight.device
    inputs = make_inputs(fed, len(arriving), kind.channel_dim, device=device)
    if inputs is None:
        return new
    whole = FedLayer()
    whole.add_module("inputs", inputs.train(old.training))
    whole.add_module("layer", new)
    whole.training = old.training
    return whole


def fed_groups(slots: Sequence[Sequence[int]], groups: int, arriving: int) -> list[Sequence[int]]:
    """The slots with the first input of the same group in place of every empty one (its weights are zero).

    Args:
        slots: for every input of the smaller layer, the places of those that it sums.
        groups: of the smaller layer.
        arriving: how many inputs arrive.
    """
    width = len(slots) // groups
    return [members or [number // width * (arriving // groups)] for number, members in enumerate(slots)]


@torch.no_grad()
def cut_channels(old: nn.Module, layer: LayerCut) -> nn.Module:
    """A layer with the output channels that are left (of a grouped one: the groups, with their inputs too).

    Returns:
        A new module, values included; the same one where nothing goes.
    """
    if layer.kept is None:
        return old
    kind = registered_kind(old)
    kept = torch.tensor(layer.kept, device=cast(Tensor, old.weight).device)
    if layer.groups_left is None:
        new = kind.resized(old, kind.n_rows(old, "input"), len(kept))
        row_blocks(new, "output").copy_(row_blocks(old, "output").index_select(1, kept))
    else:
        blocks = row_blocks(old, "output")  # (groups, channels of each, …)
        proxy = copy.copy(old)  # of the same settings but one
        cast(Any, proxy).groups = layer.groups_left
        new = kind.resized(proxy, len(layer.arrivals), len(kept))
        write_rows_(new, blocks.flatten(0, 1)[kept], "output")
    if getattr(old, "bias", None) is not None:
        cast(Tensor, new.bias).copy_(cast(Tensor, old.bias)[kept])
    _carry_(old, new, cast(Tensor, old.weight))
    return new


def _carry_(old: nn.Module, new: nn.Module, weight: Tensor) -> None:
    new.training = old.training
    for name, parameter in new.named_parameters(recurse=False):
        parameter.requires_grad_(cast(Tensor, getattr(old, name)).requires_grad)
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(weight.ndim)
    if layout is not None and weight.stride() == torch.empty_like(weight, memory_format=layout).stride():
        parameter = cast(nn.Parameter, new.weight)
        parameter.data = parameter.data.contiguous(memory_format=layout)


def _cut_parameters_(module: nn.Module, cut: ParameterCut, replaced: dict[int, nn.Parameter]) -> None:
    for name in cut.names:
        value = module._parameters.get(name)
        if value is None:
            buffer = cast(Tensor, module._buffers[name])
            module._buffers[name] = buffer.index_select(cut.dim, torch.tensor(cut.kept, device=buffer.device))
            continue
        if id(value) not in replaced:
            index = torch.tensor(cut.kept, device=value.device)
            less = nn.Parameter(value.detach().index_select(cut.dim, index), requires_grad=value.requires_grad)
            replaced[id(value)] = less
            replaced[id(less)] = less
        module._parameters[name] = replaced[id(value)]


@torch.no_grad()
def expand_(model: nn.Module, small: nn.Module) -> nn.Module:
    """Write a small network's values into a dense one of the original's shapes; what was removed becomes zero.

    Args:
        model: a dense network; modified in place and returned.
        small: a network with a structure record.
    """
    plan = structure_of(small)
    cuts = {layer.name: layer for layer in plan.layers if layer.changed}
    parts: dict[tuple[str, str], list[ParameterCut]] = {}
    for cut in plan.parameters:
        for key in cut.names:
            parts.setdefault((cut.module, key), []).append(cut)
    for name, module in model.named_modules():
        twin = small.get_submodule(name)
        if name in cuts:
            inner = twin.get_submodule("layer") if isinstance(twin, nn.Sequential) else twin
            _expand_layer_(module, inner, cuts[name])
            continue
        values = {**twin._parameters, **twin._buffers}
        for key, target in {**module._parameters, **module._buffers}.items():
            value = values.get(key)
            if target is None or value is None:
                continue
            removed = parts.get((name, key), [])
            if removed:
                target.fill_(1 if key == "running_var" else 0)
            place = tuple(torch.arange(size, device=target.device) for size in target.shape)
            for cut in removed:
                kept = torch.tensor(cut.kept, device=target.device)
                place = (*place[: cut.dim], kept, *place[cut.dim + 1 :])
            if removed:
                target[torch.meshgrid(*place, indexing="ij")] = value.to(target)
            else:
                target.copy_(value)
    return model


def _expand_layer_(dense: nn.Module, small: nn.Module, layer: LayerCut) -> None:
    kind = registered_kind(dense)
    cut = cut_channels(dense, layer)  # for its shapes
    if layer.groups_left is None:
        whole = kind.resized(cut, layer.inputs, layer.outputs_left)
        members = layer.slots
    else:
        whole = kind.resized(cut, len(layer.arrivals), layer.outputs_left)
        position = {index: place for place, index in enumerate(layer.arrivals)}
        members = [[position[index] for index in slot] for slot in layer.slots]
    source = row_blocks(small, "input").flatten(0, 1)
    target = torch.zeros_like(row_blocks(whole, "input").flatten(0, 1))
    for number, slot in enumerate(members):
        target[slot] = source[number].to(target)
    write_rows_(whole, target)
    weight, bias = cast(Tensor, dense.weight), cast("Tensor | None", getattr(dense, "bias", None))
    if layer.kept is None:
        weight.copy_(cast(Tensor, whole.weight))
        if bias is not None:
            bias.copy_(cast(Tensor, small.bias))
        return
    kept = torch.tensor(layer.kept, device=weight.device)
    weight.zero_()
    outputs = row_blocks(dense, "output")  # (groups, channels of each, …)
    per_group = outputs.shape[1]
    outputs[kept // per_group, kept % per_group] = row_blocks(whole, "output").flatten(0, 1)
    if bias is not None:
        bias.zero_()
        bias[kept] = cast(Tensor, small.bias).to(bias)
