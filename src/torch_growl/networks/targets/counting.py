"""The size that a network would have after compaction, counted from its wiring and from flags of zero rows.

Nothing is compacted: one run records the wiring and the multiply-adds of every layer, and each later count takes a few
milliseconds, so that a training loop can ask what is left, and what would be left without certain rows.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torch_growl.errors import GrowlWarning
from torch_growl.networks.compaction import LayerCut, compact, fixed_modules, structure_of
from torch_growl.networks.execution import split_inputs
from torch_growl.networks.layers import plain_copy, registered_kind, registered_layers, rows_of
from torch_growl.networks.measurement import recorded_run
from torch_growl.networks.storage import stored_itemsize
from torch_growl.networks.targets.random_zeros import zero_half_
from torch_growl.networks.wiring import Flags, Wiring, connections, left_along, needed_among

__all__ = ["Counter", "LayerLeft", "Left", "Summed"]

_INDEX = 4  # bytes of one index of a layer or shortcut that selects channels
_SCALE = 4  # bytes in the compact file of one output channel's scale, with int8 weights
_ENTRY = 80  # bytes in the compact file's header of one set of channels
_TRIALS = 2  # compactions with random zero rows, before the first count


class Summed(NamedTuple):
    """Flags of the inputs of a layer that are added to others because their rows are equal, and the additions of each
    of them in one example."""

    rows: Flags
    additions: int


class LayerLeft(NamedTuple):
    """The sizes of a layer of a compact network: inputs, outputs, whether it selects those inputs; its own counts."""

    width: int
    outputs: int
    selects: bool
    weights: int
    macs: float


@dataclass(frozen=True)
class Left:
    """The size of a compact network.

    Attributes:
        weights: elements of all parameters.
        macs: multiply-adds of one example.
        bytes: size in memory of all parameters and buffers, indices included.
        file_bytes: size of the compact file's tensors and sets of channels. What else its header holds is not counted.
        layers: the sizes of every layer of a registered type, by name.
    """

    weights: int
    macs: int
    bytes: int
    file_bytes: int = field(default=0, compare=False)
    layers: Mapping[str, LayerLeft] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class _Layer:
    """One layer of a registered type: its sizes, its own elements, and its multiply-adds."""

    inputs: int
    outputs: int
    groups: int
    row_length: int
    bias: int  # 1 if it has one
    itemsize: int
    stored: tuple[int, int, int]  # bytes in the compact file of a weight, of a bias, of a scale
    macs: int
    fixed: bool

    def count(self, width: int, outputs: int, groups: int) -> tuple[int, float]:
        """Weights and multiply-adds with fewer inputs, outputs and groups."""
        if not (width and outputs and groups):
            return 0, 0.0
        weights = width * self.length_of(outputs, groups)
        reads = width * self.groups / (groups * self.inputs)  # the share of its inputs that an output reads
        return weights + self.bias * outputs, self.macs * reads * outputs / self.outputs

    def in_file(self, own: int, outputs: int) -> int:
        """The bytes in the compact file of ``own`` weights and biases of a layer with fewer outputs."""
        weight, bias, scale = self.stored
        biases = min(own, self.bias * outputs)
        return (own - biases) * weight + biases * bias + (own > biases) * outputs * scale

    def length_of(self, outputs: int, groups: int) -> int:
        """The weights of one row with fewer outputs and groups."""
        return self.row_length * self.groups * outputs // (self.outputs * groups)


class Counter:
    """Counts what is left of a network.

    The count is that of the compact network, or more where compaction does what is not counted: ties that were not told
    (:meth:`tie`), sums that are folded into the layer before or shared by several, constant channels that are folded
    into a bias, and selections that are folded into the layer before (index bytes only).
    Multiply-adds outside of the layers of registered types (attention, einsum) count as the dense network's.

    Args:
        model: the network; not modified, a copy is run once in eval mode.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device.
        dtype: that of the compact file, as :func:`torch_growl.save` takes it.

    Attributes:
        places: for every layer the places of one example at which it reads, of all calls together.

    Raises:
        CompactionError: the network cannot be copied.
        InvalidValueError: the network cannot be run on the example inputs.
    """

    def __init__(self, model: nn.Module, example_inputs: Any, dtype: str | None = None) -> None:
        inputs = split_inputs(example_inputs)
        network = plain_copy(model).eval()
        fixed = fixed_modules(network)
        macs, total, self.places, self.wiring = recorded_run(network, inputs)
        fixed |= dict.fromkeys(self.wiring.outside, "other code reads its weight")
        if self.wiring.outputs:  # otherwise the network cannot be followed, and each layer loses its own inputs only
            fixed |= {name: "never called" for name in registered_layers(network) if name not in self.wiring.outputs}
        seen: set[int] = set()
        self._layers = {
            name: _described(module, macs.get(name, 0), name in fixed, seen, dtype)
            for name, module in registered_layers(network).items()
        }
        self._heads_macs = {name: macs.get(name, 0) for name in self.wiring.attentions}
        self._other_macs = total - sum(layer.macs for layer in self._layers.values()) - sum(self._heads_macs.values())
        kept = {id(p): p for p in (*network.parameters(), *network.buffers())}
        own = {id(p) for name in self._layers for p in _weight_and_bias(network.get_submodule(name))}
        self._sizes = {
            name: (
                tensor.shape,
                tensor.element_size(),
                isinstance(tensor, nn.Parameter),
                stored_itemsize(tensor, dtype),
            )
            for name, tensor in (*network.named_parameters(), *network.named_buffers())
            if name in self.wiring.parameters and id(tensor) not in own  # an embedding's may be a layer's too
        }
        counted = own | {id(network.get_parameter(name)) for name, size in self._sizes.items() if size[2]}
        counted |= {id(network.get_buffer(name)) for name, size in self._sizes.items() if not size[2]}
        rest = [tensor for key, tensor in kept.items() if key not in counted]
        self._rest_weights = sum(t.numel() for t in rest if isinstance(t, nn.Parameter))
        self._rest_bytes = sum(t.numel() * t.element_size() for t in rest)
        self._rest_file = sum(t.numel() * stored_itemsize(t, dtype) for t in rest)
        self._nonzero: dict[str, Flags] = {}  # (inputs, outputs), or (inputs, 1) of a layer with groups
        self._tied: dict[str, NDArray[np.int64]] = {}
        self._keep_what_compaction_keeps(network, example_inputs)
        self.look(network)
        self._all_nonzero = {name: np.ones_like(flags) for name, flags in self._nonzero.items()}
        for name, flags in self._nonzero.items():
            if not flags.any() and self._layers[name].groups == 1:
                self._nonzero[name] = self._all_nonzero[name]  # an initialisation here, which will not stay zero
        self.dense = self.left_of_dense()

    @torch.no_grad()
    def _keep_what_compaction_keeps(self, network: nn.Module, example_inputs: Any) -> None:
        """Compact a copy with random zero rows and heads; pin the channels kept beyond those that the wiring needs.

        So a network that cannot be compacted is known before it is trained. Where its code has a fixed size of heads,
        the wiring becomes one in which only whole heads can be removed.
        """
        for seed in range(_TRIALS):
            trial = copy.deepcopy(network)
            names = [name for name, layer in self._layers.items() if not layer.fixed]
            zero_half_(trial, names, self.wiring, seed)
            self.look(trial)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", GrowlWarning)  # that nothing can be removed is seen in the counts
                cuts = structure_of(compact(trial, example_inputs)).layers
            beyond = self._kept_beyond(self.wiring, cuts)
            if beyond and len(fewer := self._kept_beyond(whole := self.wiring.with_whole_heads(), cuts)) < len(beyond):
                self.wiring, beyond = whole, fewer
            if beyond:
                self.wiring = self.wiring.without(beyond, "compaction could not remove it with the same outputs")

    def _kept_beyond(self, wiring: Wiring, cuts: Iterable[LayerCut]) -> set[int]:
        """The channels of layers of which compaction kept more than a wiring needs: any of them may have to stay."""
        needed = self._needed(self._nonzero, wiring)
        found: set[int] = set()
        for cut in cuts:
            outputs = wiring.outputs.get(cut.name)
            if outputs is not None and needed[outputs].sum() < (cut.outputs if cut.kept is None else len(cut.kept)):
                found |= set(outputs.tolist())
        return found

    @torch.no_grad()
    def look(self, model: nn.Module) -> None:
        """Read which weights of the network are zero now."""
        modules = registered_layers(model)
        for name, layer in self._layers.items():
            if layer.groups == 1:
                self._nonzero[name] = connections(modules[name])
            else:
                self._nonzero[name] = cast(Flags, (rows_of(modules[name]) != 0).any(dim=1, keepdim=True).cpu().numpy())

    def tie(self, labels: Mapping[str, NDArray[np.int64]]) -> None:
        """Count equal rows as one from now on.

        Args:
            labels: for some layers the first row that has a row's value, ``(inputs,)``; other layers have no ties.
        """
        self._tied = dict(labels)

    def left(self, zero: Mapping[str, Flags] | None = None, summed: Mapping[str, Summed] | None = None) -> Left:
        """Count what compaction would leave.

        Args:
            zero: for some layers a flag for each input row: it counts as zero, whatever the weights are.
            summed: for some layers the inputs that are added to others instead of being removed; the channels are still
                needed, and the size of the file is not counted for them. None: those that are tied (:meth:`tie`).
        """
        return self._count(self._nonzero, zero or {}, self._summed(zero or {}) if summed is None else summed)

    def _summed(self, zero: Mapping[str, Flags]) -> dict[str, Summed]:
        """The rows that are tied to an earlier one that is not zero."""
        found = {}
        for name, labels in self._tied.items():
            there = self._nonzero[name].any(axis=1) & ~zero.get(name, np.zeros(len(labels), np.bool_))
            first = np.unique(np.where(there, labels, -1), return_index=True)[1]
            there[first] = False
            found[name] = Summed(there, self.places.get(name, 0))
        return found

    def left_of_dense(self, zero: Mapping[str, Flags] | None = None) -> Left:
        """Count as :meth:`left`, for the network without a zero weight: the same whenever the counter was made."""
        return self._count(self._all_nonzero, zero or {}, {})

    @property
    def cuttable(self) -> list[str]:
        """The layers without groups whose rows can be removed."""
        found = [name for name, layer in self._layers.items() if layer.groups == 1 and not layer.fixed]
        return [name for name in found if name in self.wiring.inputs]

    def _needed(self, nonzero: Mapping[str, Flags], wiring: Wiring) -> Flags:
        """The classes of channels that are needed with these nonzero weights."""
        names = [name for name in nonzero if name in wiring.inputs and self._layers[name].groups == 1]
        return needed_among({name: nonzero[name] for name in names}, wiring)

    def _count(
        self, weights_there: Mapping[str, Flags], zero: Mapping[str, Flags], summed: Mapping[str, Summed]
    ) -> Left:
        nonzero = {
            name: flags & ~zero[name][:, None] if name in zero else flags for name, flags in weights_there.items()
        }
        needed = self._needed(nonzero, self.wiring)
        weights, macs, size = self._rest_weights, float(self._other_macs), self._rest_bytes
        macs += sum(own * float(needed[self.wiring.attentions[name]].mean()) for name, own in self._heads_macs.items())
        file, sets = self._rest_file, set[bytes]()
        indices: dict[tuple[object, ...], int] = {}
        layers: dict[str, LayerLeft] = {}
        for name, layer in self._layers.items():
            arriving = needed[self.wiring.inputs[name]] if name in self.wiring.inputs else np.ones(layer.inputs, bool)
            kept = needed[self.wiring.outputs[name]] if name in self.wiring.outputs else np.ones(layer.outputs, bool)
            if layer.fixed:
                arriving, kept = np.ones_like(arriving), np.ones_like(kept)
            weights_read = nonzero[name][:, kept] if layer.groups == 1 else nonzero[name]
            read = cast(Flags, weights_read.any(axis=1))
            added = 0
            if name in summed:
                added, read = int((summed[name].rows & read).sum()), read & ~summed[name].rows
            width, groups, index = _width(layer, arriving, kept, read, added)
            own, multiplied = layer.count(width, int(kept.sum()), groups)
            multiplied += added * summed[name].additions if added and index else 0
            layers[name] = LayerLeft(width, int(kept.sum()), index > 0, own, multiplied)
            weights, macs, size = weights + own, macs + multiplied, size + own * layer.itemsize
            file += layer.in_file(own, int(kept.sum()))
            sets |= {flags.tobytes() for flags in (arriving, kept) if not flags.all()}
            if index:
                file += _ENTRY + _packed(read[arriving])
                source = self.wiring.sources.get(name, name)
                indices[(source, arriving.tobytes(), (arriving & read).tobytes(), name if added else "")] = index
        for own_channels in self.wiring.numbered.values():  # placed among zeros on the way in, selected on the way out
            placed, selected = needed[own_channels.inputs], needed[own_channels.outputs]
            size += _INDEX * (len(placed) * (not placed.all()) + int(selected.sum()) * (not selected.all()))
            sets |= {flags.tobytes() for flags in (placed, selected) if not flags.all()}
        for name, (shape, itemsize, parameter, stored) in self._sizes.items():
            kept_of = left_along(needed, self.wiring.parameters[name])
            count = int(np.prod(kept_of if len(kept_of) == len(shape) else shape))
            weights, size, file = weights + count * parameter, size + count * itemsize, file + count * stored
        file += sum(_ENTRY + _packed(np.frombuffer(flags, dtype=np.bool_)) for flags in sets)
        return Left(weights, round(macs), size + sum(indices.values()), file, layers)


def _weight_and_bias(module: nn.Module) -> list[Tensor]:
    found = [module._parameters.get("weight"), module._parameters.get("bias")]
    return [tensor for tensor in found if tensor is not None]


def _packed(flags: Flags) -> int:
    """The bytes of a set of channels in the compact file: a bit mask, or the members' numbers, or the others'."""
    bits, members = (len(flags) - 1).bit_length(), int(flags.sum())
    listed = len(flags).bit_length() + bits * min(members, len(flags) - members)
    return (2 + min(len(flags), listed) + 7) // 8


def _described(module: nn.Module, macs: int, fixed: bool, seen: set[int], dtype: str | None) -> _Layer:
    """Describe a layer; a parameter that is in ``seen`` is counted with an earlier layer."""
    inputs, outputs, groups = registered_kind(module).sizes(module)
    own = {id(tensor): tensor for tensor in _weight_and_bias(module) if id(tensor) not in seen}
    seen.update(own)
    weight, bias = cast(Tensor, module.weight), module._parameters.get("bias")
    length = weight.numel() // inputs if id(weight) in own else 0
    quantized = dtype == "int8" and weight.is_floating_point()
    stored = (
        1 if quantized else stored_itemsize(weight, dtype),
        0 if bias is None else stored_itemsize(bias, dtype),
        _SCALE if quantized else 0,
    )
    return _Layer(
        inputs, outputs, groups, length, int(bias is not None and id(bias) in own), weight.element_size(), stored,
        macs, fixed,
    )  # fmt: skip


def _width(layer: _Layer, arriving: Flags, kept: Flags, read: Flags, added: int) -> tuple[int, int, int]:
    """The inputs and groups that a layer keeps, and the bytes of the index that selects them or adds others to them."""
    groups = 1 if layer.groups == 1 else int(kept.reshape(layer.groups, -1)[:, 0].sum())
    if layer.fixed:
        return layer.inputs, layer.groups, 0
    came = int(arriving.sum())
    if layer.groups == 1:
        width = max(1, int((arriving & read).sum()))
    else:
        left = kept.reshape(layer.groups, -1)[:, 0]
        per_group = (arriving & read).reshape(layer.groups, -1).sum(axis=1)[left]
        width = max(1, int(per_group.max(initial=0))) * groups
    row_bytes = layer.length_of(int(kept.sum()), groups) * layer.itemsize
    index = _INDEX * (width + 2 * added) if width < came else 0
    return (came, groups, 0) if index >= (came - width) * row_bytes else (width, groups, index)
