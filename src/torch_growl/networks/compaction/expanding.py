"""Expanding: the values of a compact network written back into a dense one of the original's shapes."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from torch_growl.networks.compaction.shrinking import add_biases_, cut_channels
from torch_growl.networks.compaction.structure import LayerCut, ParameterCut, structure_of
from torch_growl.networks.layers import registered_kind, row_blocks, write_rows_

__all__ = ["expand_"]


@torch.no_grad()
def expand_(model: nn.Module, small: nn.Module) -> nn.Module:
    """Write a compact network's values into a dense network of the original's shapes; removed weights become zero.

    Args:
        model: a dense network; modified in place and returned.
        small: a network made by ``compact`` or ``load``; not modified.
    """
    plan = structure_of(small)
    add_biases_(model, plan)
    cuts = {layer.name: layer for layer in plan.layers if layer.changed}
    parts: dict[tuple[str, str], list[ParameterCut]] = {}
    for cut in plan.parameters:
        for key in cut.names:
            parts.setdefault((cut.module, key), []).append(cut)
    around = tuple(f"{cut.module}." for cut in plan.modules)
    for name, module in model.named_modules():
        if f"{name}.".startswith(around):  # it has neither parameters nor buffers
            continue
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
    wide, arriving = layer.width // layer.groups_after, len(layer.arrivals) // layer.groups_after
    for number, slot in enumerate(members):
        if not slot:  # padding is fed by its group's first input; its weights are zero unless they were trained
            first = number // wide * arriving
            target[layer.arrivals[first] if layer.groups_left is None else first] += source[number].to(target)
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
