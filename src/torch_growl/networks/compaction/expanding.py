"""Expanding: the values of a compact network written back into a dense one of the original's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from torch_growl.errors import LayerError
from torch_growl.networks.compaction.shrinking import add_bias_, add_biases_, cut_channels
from torch_growl.networks.compaction.structure import (
    LayerCut,
    ParameterCut,
    Structure,
    mark_added_bias_,
    misfit,
    structure_of,
)
from torch_growl.networks.execution import pack_heads_, unpack_heads_
from torch_growl.networks.layers import (
    check_network,
    outside_inference_mode,
    plain_copy,
    plain_model,
    registered_kind,
    row_blocks,
    write_rows_,
)

__all__ = ["expand", "expand_", "load_expanded_"]


def expand(small: nn.Module, model: nn.Module) -> nn.Module:
    """Return the dense form of a compact network: the original shapes and the same outputs, to go on from.

    Removed weights are zero and tied rows are equal, so that :func:`torch_growl.compact` makes the same compact network
    of it, and :func:`torch_growl.shrink`, :class:`torch_growl.GrOWL` and :func:`torch_growl.find_tying` remove and tie
    more. A file of what comes of it is for the original network, whatever the number of steps.

    Args:
        small: a network made by :func:`torch_growl.compact`, :func:`torch_growl.shrink` or :func:`torch_growl.load`,
            trained on or not; not modified.
        model: a network of the original class and shapes; not modified. Its values do not matter; types, devices,
            training mode and requires_grad flags are taken from it.

    Raises:
        InvalidTypeError: one of them is not a module.
        InvalidValueError: ``small`` was made by none of them.
        LayerError: ``small`` was made from a network of other layers.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
        >>> batches = [torch.randn(64, 6) for _ in range(4)]
        >>> small = tg.shrink(model, batches, tg.Target(weights=0.5))  # train it here, then go on:
        >>> smaller = tg.shrink(tg.expand(small, model), batches, tg.Target(weights=0.25))
        >>> torch.allclose(tg.expand(small, model)(batches[0]), small(batches[0]), atol=1e-5)
        True
    """
    check_network("small", small)
    check_network("model", model)
    small = plain_model(small)
    plan = structure_of(small)
    dense = plain_copy(model)
    unpack_heads_(dense)
    _check_fits(dense, small, plan)
    with outside_inference_mode():
        return expand_(dense, small)


def _check_fits(dense: nn.Module, small: nn.Module, plan: Structure) -> None:
    if (wrong := misfit(dense, plan)) is not None:
        cut, found = wrong
        if found is None:
            raise LayerError(f"the compact network was made from one with a layer {cut.name!r}, which model lacks")
        raise LayerError(
            f"layer {cut.name!r} had {cut.inputs} inputs and {cut.outputs} outputs in the network that the compact "
            f"one was made from; in model it has {found[0]} and {found[1]}"
        )
    for cut in plan.layers:
        there = getattr(small.get_submodule(cut.name), "bias", None) is not None
        if not cut.bias_added and there != (getattr(dense.get_submodule(cut.name), "bias", None) is not None):
            raise LayerError(
                f"layer {cut.name!r} had {'a' if there else 'no'} bias in the network that the compact one was made "
                f"from; in model it has {'none' if there else 'one'}"
            )


@torch.no_grad()
def expand_(model: nn.Module, small: nn.Module) -> nn.Module:
    """Write a compact network's values into a dense network of the original's shapes; removed weights become zero.

    Args:
        model: a dense network; modified in place and returned.
        small: a network made by ``compact`` or ``load``; not modified.
    """
    plan = structure_of(small)
    unpack_heads_(model)
    add_biases_(model, plan)
    for layer in plan.layers:
        if layer.bias_added:
            mark_added_bias_(model.get_submodule(layer.name))  # a compact network made of it has it from constants too
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
    pack_heads_(model)
    return model


def load_expanded_(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Load the state of a network that :func:`expand_` made; layers get the biases that it gave them.

    Args:
        model: a network of the original class and shapes; modified in place and returned.
        state: the state; entries are named as the network's.

    Raises:
        RuntimeError: the state is that of another network, as by ``load_state_dict``.
    """
    for name, layer in model.named_modules():
        bias = state.get(f"{name}.bias" if name else "bias")
        own = layer._parameters
        if bias is not None and own.get("weight") is not None and "bias" in own and own["bias"] is None:
            add_bias_(layer, len(bias))
            mark_added_bias_(layer)
    model.load_state_dict(state)
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
