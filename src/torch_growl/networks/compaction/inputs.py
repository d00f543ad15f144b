"""The modules before a smaller layer that select its inputs, or sum the inputs that are tied.

``W x = Σ_c w_c (Σ_{i∈c} x_i)``: a layer whose rows fall into k groups is a layer of k inputs that reads the groups'
sums. If every group has one member, the sums are a selection.

Indices are int32 buffers, the smallest type that torch indexes with (the file stores fewer bits); they are not in the
state_dict, because they follow from the network's structure. Sums are computed in the input's type.

The algorithm of the sum was chosen by measuring (torch 2.13, one CPU thread, microseconds; "first+add", the one used,
selects the first member of every group and adds the others to it with one ``index_add_``):

==========================  ==========  =========  ==========  ==============  ============
shape, inputs → groups      first+add   index_add  0/1 matrix  segment_reduce  padded gather
==========================  ==========  =========  ==========  ==============  ============
(1, 784), 340 → 33          26          29         9           27              41
(256, 784), 340 → 33        264         250        377         440             394
(256, 300), 230 → 40        140         164        150         308             374
(256, 512), 512 → 400       145         427        1284        896             1506
(32, 512, 4, 4) → 200       249         373        1869        610             797
(32, 512, 8, 8) → 200       1056        1620       6798        3691            4141
(32, 512, 16, 16) → 200     5062        6687       21695       8813            43668
==========================  ==========  =========  ==========  ==============  ============

The matrix is 17 µs faster at batch 1 but needs more memory than it saves. The order of the additions is fixed on a CPU;
on CUDA it is fixed under ``torch.use_deterministic_algorithms(True)``.

For ONNX and ExecuTorch the sum is computed without a scatter. ``index_add_`` is exported as ScatterND; onnxruntime's
ScatterND adds members of one group from several threads at once and gives wrong sums. Constant folding would turn a 0/1
matrix into weights of the full size again. docs/export.md has the measurements.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_growl.errors import InvalidValueError

__all__ = [
    "PlaceInputs",
    "SelectInputs",
    "SharedInputs",
    "SumInputs",
    "index_bytes",
    "make_inputs",
    "sum_without_scatter",
]


class SelectInputs(nn.Module):
    """``y_j = x_{index[j]}`` along one dimension.

    Args:
        index: the selected inputs, in order; an input may be selected more than once.
        dim: the channel dimension, counted from the end (−1 for a Linear, −3 for a 2-d convolution).
        device: the device of the index.
    """

    index: Tensor

    def __init__(self, index: Sequence[int], dim: int, *, device: torch.device | None = None) -> None:
        super().__init__()
        _check(dim, index)
        self.dim = dim
        self.register_buffer("index", torch.tensor(index, dtype=torch.int32, device=device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the selected inputs: a copy of ``x`` with ``len(index)`` channels."""
        if isinstance(x, Tensor) and x.is_nested:  # torch.fx traces with other objects
            return _of_parts(self, x)
        return x.index_select(self.dim, self.index)

    def extra_repr(self) -> str:
        """The arguments in ``repr()``."""
        return f"{len(self.index)}, dim={self.dim}"


class PlaceInputs(nn.Module):
    """``y_{index[j]} = x_j`` along one dimension, and zeros elsewhere.

    Args:
        index: the places of the inputs, increasing.
        size: the number of places.
        dim: the channel dimension, counted from the end.
        device: the device of the index.
    """

    index: Tensor

    def __init__(self, index: Sequence[int], size: int, dim: int, *, device: torch.device | None = None) -> None:
        super().__init__()
        _check(dim, index)
        self.dim = dim
        place = {number: j for j, number in enumerate(index)}
        source = [place.get(number, len(index)) for number in range(size)]  # one more channel is of zeros
        self.register_buffer("index", torch.tensor(source, dtype=torch.int32, device=device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the inputs at their places: ``size`` channels in the type of ``x``."""
        return F.pad(x, (0, 0) * (-self.dim - 1) + (0, 1)).index_select(self.dim, self.index)

    def extra_repr(self) -> str:
        """The arguments in ``repr()``."""
        return f"{len(self.index)}, dim={self.dim}"


class SumInputs(nn.Module):
    """``y_c = Σ_{i∈c} x_i`` along one dimension, over the inputs that are kept.

    Args:
        groups: the inputs of every group; no group is empty.
        dim: the channel dimension, counted from the end.
        device: the device of the indices.

    Attributes:
        scatter_free: whether to sum by selections and additions alone, for runtimes without a correct scatter; always
            done inside ``torch.onnx.export``.
    """

    first: Tensor
    others: Tensor
    targets: Tensor

    def __init__(self, groups: Sequence[Sequence[int]], dim: int, *, device: torch.device | None = None) -> None:
        super().__init__()
        if not all(groups):
            raise InvalidValueError("every group must have at least one input")
        _check(dim, [index for members in groups for index in members])
        self.dim = dim
        self.groups = tuple(tuple(members) for members in groups)
        self.scatter_free = False
        rest = sorted((index, target) for target, members in enumerate(groups) for index in members[1:])
        indices = {
            "first": [members[0] for members in groups],
            "others": [index for index, _ in rest],
            "targets": [target for _, target in rest],
        }
        for name, values in indices.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int32, device=device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums of the groups: ``len(groups)`` channels in the type of ``x``."""
        if isinstance(x, Tensor) and x.is_nested:  # torch.fx traces with other objects
            return _of_parts(self, x)
        if self.scatter_free or torch.onnx.is_in_onnx_export():
            return sum_without_scatter(x, self.groups, self.dim)
        sums = x.index_select(self.dim, self.first)
        return sums.index_add_(self.dim, self.targets, x.index_select(self.dim, self.others))

    def additions(self, x: Tensor) -> int:
        """The number of additions of one call on ``x``."""
        return len(self.others) * (x.numel() // x.shape[self.dim])

    def extra_repr(self) -> str:
        """The arguments in ``repr()``."""
        return f"{len(self.first) + len(self.others)} -> {len(self.first)}, dim={self.dim}"


class SharedInputs(nn.Module):
    """A selection or sum that several layers take from the same tensor, computed once in each forward pass.

    The first reader's call computes the result, which is kept until the last reader has used it. Every reader computes
    it under ``torch.compile`` and ``torch.export``, because these tools find common computations themselves.

    Args:
        inputs: the module that is computed once.
        readers: the number of layers that read it.
    """

    def __init__(self, inputs: nn.Module, readers: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.readers = readers
        self._held: dict[int, tuple[Any, int, bool, Tensor, int]] = {}  # by thread

    def __getstate__(self) -> dict[str, Any]:
        """Copies keep no result."""
        return {**self.__dict__, "_held": {}}

    def forward(self, x: Tensor) -> Tensor:
        """Return ``inputs(x)``."""
        if torch.compiler.is_compiling() or type(x) is not Tensor:
            return self.inputs(x)  # type: ignore[no-any-return]
        thread, version = threading.get_ident(), -1 if x.is_inference() else x._version
        held = self._held.pop(thread, None)
        if held is not None and held[0]() is x and held[1:3] == (version, torch.is_grad_enabled()):
            result, left = held[3], held[4] - 1
        else:
            result, left = self.inputs(x), self.readers - 1
        if left:
            self._held[thread] = (weakref.ref(x), version, torch.is_grad_enabled(), result, left)
        return result

    def extra_repr(self) -> str:
        """The arguments in ``repr()``."""
        return f"readers={self.readers}"


def _of_parts(inputs: nn.Module, x: Tensor) -> Tensor:
    """Select or sum the inputs of every part of a nested tensor, whose operations do not include this."""
    if x.layout == torch.jagged:
        offsets, lengths = cast(Any, x).offsets(), cast(Any, x).lengths()
        return torch.nested.nested_tensor_from_jagged(inputs(x.values()), offsets, lengths)
    return torch.nested.as_nested_tensor([inputs(part) for part in x.unbind()])


def sum_without_scatter(x: Tensor, groups: Sequence[Sequence[int]], dim: int) -> Tensor:
    """Compute the sums of :class:`SumInputs` by selection, addition and concatenation alone; for exporters.

    Before a Linear, the channel dimension is moved to the front (gathering whole rows is several times as fast as
    gathering single numbers), and members are added in pairs, in about log2(size of the largest group) rounds. Before
    a convolution, the dimension is not moved; groups of the same size are gathered as one block and summed.
    """
    if dim == -1:
        return _sum_in_pairs(x.movedim(-1, 0), groups, -x.ndim).movedim(0, -1)
    return _sum_by_size(x, groups, dim)


def _sum_in_pairs(x: Tensor, groups: Sequence[Sequence[int]], dim: int) -> Tensor:
    lists = [list(members) for members in groups]
    while max(map(len, lists)) > 1:
        left = [i for members in lists for i in members[: len(members) // 2 * 2 : 2]]
        right = [i for members in lists for i in members[1::2]]
        alone = [members[-1] for members in lists if len(members) % 2]
        sums = _select(x, dim, left) + _select(x, dim, right)
        x = torch.cat([sums, _select(x, dim, alone)], dim) if alone else sums
        summed, single = 0, len(left)  # places of the next pair's sum and of the next unpaired member
        for number, members in enumerate(lists):
            pairs, odd = divmod(len(members), 2)
            lists[number] = [*range(summed, summed + pairs), *range(single, single + odd)]
            summed, single = summed + pairs, single + odd
    return _in_order(x, dim, [members[0] for members in lists])


def _sum_by_size(x: Tensor, groups: Sequence[Sequence[int]], dim: int) -> Tensor:
    numbers: dict[int, list[int]] = {}
    for number, members in enumerate(groups):
        numbers.setdefault(len(members), []).append(number)
    blocks, order = [], []
    for size, same in sorted(numbers.items()):
        order += same
        block = _select(x, dim, [groups[number][k] for k in range(size) for number in same])
        blocks.append(block if size == 1 else block.unflatten(dim, (size, len(same))).sum(dim - 1))
    place = {number: k for k, number in enumerate(order)}
    sums = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim)
    return _in_order(sums, dim, [place[number] for number in range(len(groups))])


def _in_order(x: Tensor, dim: int, index: list[int]) -> Tensor:
    return x if index == list(range(x.shape[dim])) else _select(x, dim, index)


def _select(x: Tensor, dim: int, index: list[int]) -> Tensor:
    return x.index_select(dim, torch.tensor(index, dtype=torch.int32, device=x.device))


def _check(dim: int, index: Sequence[int]) -> None:
    if dim >= 0:
        raise InvalidValueError(f"dim must be counted from the end (negative), got {dim}")
    if not index or min(index) < 0:
        raise InvalidValueError("indices must be a non-empty list of integers ≥ 0")


def make_inputs(
    groups: Sequence[Sequence[int]], available: int, dim: int, *, device: torch.device | None = None
) -> nn.Module | None:
    """Make the module that maps ``available`` inputs to the sums of the groups; None if the sums are the inputs."""
    if any(len(members) > 1 for members in groups):
        return SumInputs(groups, dim, device=device)
    index = [members[0] for members in groups]
    return None if index == list(range(available)) else SelectInputs(index, dim, device=device)


def index_bytes(groups: Sequence[Sequence[int]], available: int) -> int:
    """The memory of the module that :func:`make_inputs` makes, in bytes."""
    members = sum(len(group) for group in groups)
    if members == len(groups):
        return 0 if [group[0] for group in groups] == list(range(available)) else 4 * members
    return 4 * (2 * members - len(groups))
