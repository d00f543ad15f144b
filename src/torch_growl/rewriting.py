"""Carrying a structure out: a dense network made small, values included, and a small one's values put back.

Both :func:`torch_growl.compact` and :func:`torch_growl.load` make their networks here, so that what is saved is what
comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from torch_growl.inputs import make_inputs
from torch_growl.layers import LayerKind, Side, kind_of
from torch_growl.structure import LayerCut, Structure, record_, structure_of

__all__ = ["cut_outputs", "expand_", "fed_groups", "shrink_"]


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
    for norm in plan.norms:
        _cut_norm_(model.get_submodule(norm.name), plan.arriving(norm.source, norm.block, norm.features))
    for layer in plan.layers:
        if layer.changed:
            model = replace_(model, layer.name, _smaller(model.get_submodule(layer.name), layer, plan))
    return record_(model, plan)


@torch.no_grad()
def _smaller(old: nn.Module, layer: LayerCut, plan: Structure) -> nn.Module:
    kind = cast(LayerKind, kind_of(old))
    slots = plan.slots(layer)
    fed = fed_groups(slots, layer.groups, layer.inputs)
    weight = cast(Tensor, old.weight)
    if layer.kept is not None:
        old = cut_outputs(old, layer.kept)
    new = kind.resized(old, layer.width, layer.outputs_left)
    rows = _blocks(old, "input").flatten(0, 1)
    chosen = rows[torch.tensor([members[0] for members in fed], device=rows.device)]
    padding = [number for number, slot in enumerate(slots) if not slot]
    chosen[torch.tensor(padding, dtype=torch.int64, device=rows.device)] = 0
    target = _blocks(new, "input")
    target.copy_(chosen.reshape(target.shape))
    if getattr(new, "bias", None) is not None:
        cast(Tensor, new.bias).copy_(cast(Tensor, old.bias))
    _carry_(old, new, weight)

    arriving = plan.arriving(layer.source, layer.block, layer.inputs)
    position = {index: place for place, index in enumerate(arriving)}
    device = None if weight.is_meta else weight.device
    groups = [[position[index] for index in members] for members in fed]
    inputs = make_inputs(groups, len(arriving), kind.channel_dim, device=device)
    if inputs is None:
        return new
    whole = nn.Sequential()
    whole.add_module("inputs", inputs.train(old.training))
    whole.add_module("layer", new)
    whole.training = old.training
    return whole


def fed_groups(slots: Sequence[Sequence[int]], groups: int, inputs: int) -> list[Sequence[int]]:
    """The slots with the first input of the same group in place of every empty one (its weights are zero)."""
    width = len(slots) // groups
    return [members or [number // width * (inputs // groups)] for number, members in enumerate(slots)]


@torch.no_grad()
def cut_outputs(old: nn.Module, kept: Sequence[int]) -> nn.Module:
    """A layer with some of the output channels of an ungrouped one: a new module, values included."""
    kind = cast(LayerKind, kind_of(old))
    inputs = _blocks(old, "input").flatten(0, 1).shape[0]
    new = kind.resized(old, inputs, len(kept))
    index = torch.tensor(kept, device=cast(Tensor, old.weight).device)
    _blocks(new, "output").copy_(_blocks(old, "output").index_select(1, index))
    if getattr(old, "bias", None) is not None:
        cast(Tensor, new.bias).copy_(cast(Tensor, old.bias)[index])
    _carry_(old, new, cast(Tensor, old.weight))
    return new


def _blocks(module: nn.Module, side: Side) -> Tensor:
    return cast(LayerKind, kind_of(module)).blocks(module, cast(Tensor, module.weight).detach(), side)


def _carry_(old: nn.Module, new: nn.Module, weight: Tensor) -> None:
    new.training = old.training
    for name, parameter in new.named_parameters(recurse=False):
        parameter.requires_grad_(cast(Tensor, getattr(old, name)).requires_grad)
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(weight.ndim)
    if layout is not None and weight.stride() == torch.empty_like(weight, memory_format=layout).stride():
        parameter = cast(nn.Parameter, new.weight)
        parameter.data = parameter.data.contiguous(memory_format=layout)


def _cut_norm_(norm: nn.Module, kept: Sequence[int]) -> None:
    for name, parameter in list(norm.named_parameters(recurse=False)):
        index = torch.tensor(kept, device=parameter.device)
        setattr(norm, name, nn.Parameter(parameter.detach()[index], requires_grad=parameter.requires_grad))
    for name, buffer in list(norm.named_buffers(recurse=False)):
        if buffer.ndim:
            setattr(norm, name, buffer[torch.tensor(kept, device=buffer.device)])
    cast(Any, norm).num_features = len(kept)


@torch.no_grad()
def expand_(model: nn.Module, small: nn.Module) -> nn.Module:
    """Write a small network's values into a dense one of the original's shapes; what was removed becomes zero.

    Args:
        model: a dense network; modified in place and returned.
        small: a network with a structure record.
    """
    plan = structure_of(small)
    cuts = {layer.name: layer for layer in plan.layers if layer.changed}
    norms = {norm.name: norm for norm in plan.norms}
    for name, module in model.named_modules():
        twin = small.get_submodule(name)
        if name in cuts:
            inner = twin.get_submodule("layer") if isinstance(twin, nn.Sequential) else twin
            _expand_layer_(module, inner, cuts[name], plan)
            continue
        norm = norms.get(name)
        kept = None if norm is None else plan.arriving(norm.source, norm.block, norm.features)
        values = {**twin._parameters, **twin._buffers}
        for key, target in {**module._parameters, **module._buffers}.items():
            value = values.get(key)
            if target is None or value is None:
                continue
            if kept is None or not target.ndim:
                target.copy_(value)
            else:
                target.fill_(1 if key == "running_var" else 0)
                target[torch.tensor(kept, device=target.device)] = value.to(target)
    return model


def _expand_layer_(dense: nn.Module, small: nn.Module, layer: LayerCut, plan: Structure) -> None:
    kind = cast(LayerKind, kind_of(dense))
    whole = kind.resized(dense, layer.inputs, layer.outputs_left)
    source = _blocks(small, "input").flatten(0, 1)
    target = torch.zeros_like(_blocks(whole, "input").flatten(0, 1))
    for number, members in enumerate(plan.slots(layer)):
        target[members] = source[number].to(target)
    blocks = _blocks(whole, "input")
    blocks.copy_(target.reshape(blocks.shape))
    weight, bias = cast(Tensor, dense.weight), cast("Tensor | None", getattr(dense, "bias", None))
    if layer.kept is None:
        weight.copy_(cast(Tensor, whole.weight))
        if bias is not None:
            bias.copy_(cast(Tensor, small.bias))
        return
    kept = torch.tensor(layer.kept, device=weight.device)
    weight.zero_()
    _blocks(dense, "output").index_copy_(1, kept, _blocks(whole, "output"))
    if bias is not None:
        bias.zero_()
        bias[kept] = cast(Tensor, small.bias).to(bias)
