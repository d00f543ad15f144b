"""Shrinking: a dense network made smaller according to a structure, values included.

Both :func:`torch_growl.compact` and :func:`torch_growl.load` make their networks here, so a loaded network has the
modules of the saved one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from torch_growl.networks.compaction.inputs import PlaceInputs, SelectInputs, SharedInputs, SumInputs, make_inputs
from torch_growl.networks.compaction.structure import LayerCut, ModuleCut, ParameterCut, Structure, record_
from torch_growl.networks.execution import FewerHeads, pack_heads_, unpack_heads_
from torch_growl.networks.layers import kind_of, registered_kind, row_blocks, scale_rows_, write_rows_

__all__ = ["FedLayer", "add_bias_", "add_biases_", "cut_channels", "fed_groups", "shrink_"]


class FedLayer(nn.Sequential):
    """A smaller layer ``layer`` after a module ``inputs`` that selects or sums its inputs.

    ``weight`` and ``bias`` are the smaller layer's, for code that looks up a layer's type or device there.

    The gradient of a value that s tied rows share is the *mean* of the rows' gradients, not their sum. A step of SGD is
    then the mean of the steps that the rows would take, which is tied training (:func:`torch_growl.tie_`); weight decay
    and momentum need no more. Rows of ``padding`` stay as they are, because no row of the dense network trains there.

    Attributes:
        padding: the rows of the smaller layer that stand for no row of the dense one.
    """

    padding: tuple[int, ...] = ()

    @property
    def weight(self) -> Tensor:
        """The smaller layer's weight."""
        return cast(Tensor, self.get_submodule("layer").weight)

    @property
    def bias(self) -> Tensor | None:
        """The smaller layer's bias."""
        return cast("Tensor | None", self.get_submodule("layer").bias)

    def forward(self, input: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return the layer's output.

        Args:
            input: the layer's input.
            counts: the number of rows of the dense network behind each of its channels, if it holds sums already;
                shaped as ``input`` without the dimensions before that of the channels.
        """
        inputs, layer = self
        sums = inputs(input)
        inputs = inputs.inputs if isinstance(inputs, SharedInputs) else inputs
        summing = isinstance(inputs, SumInputs) or bool(self.padding) or counts is not None
        if not (summing and _trains(input)):
            return cast(Tensor, layer(sums))
        dim = cast(SumInputs, inputs).dim
        if counts is None:
            counts = torch.ones((input.size(dim), *[1] * (-dim - 1)), device=input.device)
        counts = cast(Tensor, inputs.forward(counts))  # hooks are for the network's own inputs
        if isinstance(layer, FedLayer):
            return cast(Tensor, layer(sums, counts))
        return _with_mean_gradient(layer, sums, counts.flatten(), self.padding)


def _trains(x: Tensor) -> bool:
    """Tell whether gradients are computed, by nothing that records the network for use alone."""
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    recorded = traced or torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
    return torch.is_grad_enabled() and isinstance(x, Tensor) and not recorded  # torch.fx traces with other objects


def _with_mean_gradient(layer: nn.Module, x: Tensor, counts: Tensor, padding: Sequence[int]) -> Tensor:
    """Call a layer with the same weight, the gradient of whose row i is divided by ``counts[i]``; of padding, zero."""
    weight = vars(layer).get("weight", layer._parameters.get("weight"))  # an attribute in a replica of DataParallel
    if weight is None or not weight.requires_grad or kind_of(layer) is None:
        return cast(Tensor, layer(x))
    share = counts.to(torch.promote_types(counts.dtype, weight.dtype)).reciprocal()
    for row in padding:
        share[row] = 0
    shares = torch.ones_like(weight, requires_grad=False)
    scale_rows_(layer, share, "input", shares)
    even = torch.lerp(weight.detach(), weight, shares)  # the weight exactly: w + share · (w − w)
    if torch.compiler.is_compiling() or "forward" in vars(layer):
        return cast(Tensor, torch.func.functional_call(layer, {"weight": even}, (x,)))
    other = object.__new__(type(layer))  # the layer itself may be running in another thread
    vars(other).update(vars(layer), weight=even)
    return cast(Tensor, other(x))


def replace_(model: nn.Module, name: str, new: nn.Module) -> nn.Module:
    """Replace a module under all of its names and return the network."""
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
    """Apply a structure to a dense network, values included.

    Args:
        model: the dense network; modified in place and returned. If the network *is* one layer, a new one is returned.
        plan: the structure.
    """
    unpack_heads_(model)
    for cut in plan.parameters:
        _cut_parameters_(model.get_submodule(cut.module), cut)
    for change in plan.attributes:
        setattr(model.get_submodule(change.module), change.name, change.after)
    add_biases_(model, plan)
    for layer in plan.layers:
        if layer.changed:
            model = replace_(model, layer.name, _smaller(model.get_submodule(layer.name), layer))
    device = next((None if p.is_meta else p.device for p in model.parameters()), None)
    for around in plan.modules:
        model = replace_(model, around.module, _whole_channels(model.get_submodule(around.module), around, device))
    pack_heads_(model)
    _leave_fast_path_(model)
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


def _whole_channels(old: nn.Module, cut: ModuleCut, device: torch.device | None) -> nn.Module:
    """Give a module all of its channels, zeros in place of the removed ones, and select its outputs."""
    whole = nn.Sequential()
    if cut.arriving is not None:
        whole.add_module("inputs", PlaceInputs(cut.arriving, cut.inputs, cut.dim, device=device))
    whole.add_module("module", old)
    if cut.kept is not None:
        whole.add_module("outputs", SelectInputs(cut.kept, cut.dim, device=device))
    return whole.train(old.training)


def add_biases_(model: nn.Module, plan: Structure) -> None:
    """Give the layers that constant inputs were folded into a bias of zeros, where they have none."""
    for layer in plan.layers:
        if layer.bias_added:
            add_bias_(model.get_submodule(layer.name), layer.outputs)


def add_bias_(module: nn.Module, outputs: int) -> None:
    """Give a layer a bias of zeros, unless it has a bias."""
    weight = cast(Tensor, module.weight)
    if module.bias is None:
        module.bias = nn.Parameter(weight.new_zeros(outputs), requires_grad=weight.requires_grad)


def _leave_fast_path_(model: nn.Module) -> None:
    """Make transformer layers of torch call the layers inside them that select or sum inputs, or have fewer heads.

    Their fused kernel would read the smaller weights and skip the selection. Loading comes through here too.
    """
    for module in model.modules():
        called = any(isinstance(child, FedLayer | FewerHeads) for child in module.children())
        if called and isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0


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
    whole.padding = tuple(padding)
    whole.training = old.training
    return whole


def fed_groups(slots: Sequence[Sequence[int]], groups: int, arriving: int) -> list[Sequence[int]]:
    """Replace empty slots by the first input of their group; their weights are zero.

    Args:
        slots: for every input of the smaller layer, the places of the arriving inputs that it sums.
        groups: number of groups of the smaller layer.
        arriving: number of arriving inputs.
    """
    width = len(slots) // groups
    return [members or [number // width * (arriving // groups)] for number, members in enumerate(slots)]


@torch.no_grad()
def cut_channels(old: nn.Module, layer: LayerCut) -> nn.Module:
    """Remove output channels of a layer, or whole groups of a grouped convolution with their inputs.

    Returns:
        A new module, values included; ``old`` itself if no channel is removed.
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
        proxy = copy.copy(old)  # with the same settings except groups
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


def _cut_parameters_(module: nn.Module, cut: ParameterCut) -> None:
    """Remove entries of parameters and buffers along one dimension; planning never cuts a shared parameter."""
    for name in cut.names:
        parameter = module._parameters.get(name)
        value = cast(Tensor, module._buffers[name]) if parameter is None else parameter.detach()
        less = value.index_select(cut.dim, torch.tensor(cut.kept, device=value.device))
        if parameter is None:
            module._buffers[name] = less
        else:
            module._parameters[name] = nn.Parameter(less, requires_grad=parameter.requires_grad)
