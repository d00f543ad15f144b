"""Builds ONNX models that sum groups of inputs, one form each.

``benchmarks.deployment.export`` compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["FORMS", "Groups", "model"]

Groups = Sequence[Sequence[int]]


class _Graph:
    """Nodes and constants of a model as they are added; channels are axis 1 of the input ``x``."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike, dtype: type = np.int64) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def gather(self, x: str, index: npt.ArrayLike, axis: int) -> str:
        return self.add("Gather", x, self.constant(index, np.int32), axis=axis)

    def swap(self, x: str) -> str:
        """Move the channels to the front, or back."""
        return self.add("Transpose", x, perm=[1, 0, *range(2, len(self.shape) + 1)])

    def reduce(self, x: str, axis: int) -> str:
        return self.add("ReduceSum", x, self.constant([axis]), keepdims=0)


def _by_size(graph: _Graph, x: str, groups: Groups, *, front: bool) -> str:
    axis = 0 if front else 1
    x = graph.swap(x) if front else x
    sizes: dict[int, list[int]] = {}
    for number, members in enumerate(groups):
        sizes.setdefault(len(members), []).append(number)
    order = [number for _, numbers in sorted(sizes.items()) for number in numbers]
    blocks = []
    for size, numbers in sorted(sizes.items()):
        table = np.array([groups[number] for number in numbers])
        if size == 1:
            blocks.append(graph.gather(x, table[:, 0], axis))
        else:
            block = graph.gather(x, table if front else table.T, axis)
            blocks.append(graph.reduce(block, 1))
    sums = graph.add("Concat", *blocks, axis=axis)
    sums = graph.gather(sums, np.argsort(order), axis)
    return graph.swap(sums) if front else sums


def _split(groups: Groups) -> tuple[list[int], list[int], list[int]]:
    rest = sorted((index, target) for target, members in enumerate(groups) for index in members[1:])
    return [members[0] for members in groups], [index for index, _ in rest], [target for _, target in rest]


def _scatter_nd(graph: _Graph, x: str, groups: Groups) -> str:
    first, others, targets = _split(groups)
    x = graph.swap(x)
    place = graph.constant([[target] for target in targets])
    added = graph.add("ScatterND", graph.gather(x, first, 0), place, graph.gather(x, others, 0), reduction="add")
    return graph.swap(added)


def _scatter_rounds(graph: _Graph, x: str, groups: Groups) -> str:
    x = graph.swap(x)
    sums = graph.gather(x, [members[0] for members in groups], 0)
    for k in range(1, max(map(len, groups))):
        targets = [number for number, members in enumerate(groups) if len(members) > k]
        added = graph.gather(x, [groups[number][k] for number in targets], 0)
        place = graph.constant([[target] for target in targets])
        sums = graph.add("ScatterND", sums, place, added, reduction="add")
    return graph.swap(sums)


def _scatter_elements(graph: _Graph, x: str, groups: Groups) -> str:
    first, others, targets = _split(groups)
    added = graph.gather(x, others, 1)
    place = graph.constant(np.reshape(targets, (1, -1, *(1 for _ in graph.shape[1:]))))
    place = graph.add("Expand", place, graph.add("Shape", added))
    return graph.add("ScatterElements", graph.gather(x, first, 1), place, added, axis=1, reduction="add")


def _pairs(graph: _Graph, x: str, groups: Groups) -> str:
    x = graph.swap(x)
    lists = [list(members) for members in groups]
    while max(map(len, lists)) > 1:
        left = [i for members in lists for i in members[: len(members) // 2 * 2 : 2]]
        right = [i for members in lists for i in members[1::2]]
        alone = [members[-1] for members in lists if len(members) % 2]
        sums = graph.add("Add", graph.gather(x, left, 0), graph.gather(x, right, 0))
        x, summed, single = (
            graph.add("Concat", sums, graph.gather(x, alone, 0), axis=0) if alone else sums,
            0,
            len(left),
        )
        for number, members in enumerate(lists):
            lists[number] = list(range(summed, summed + len(members) // 2))
            summed += len(members) // 2
            if len(members) % 2:
                lists[number].append(single)
                single += 1
    return graph.swap(graph.gather(x, [members[0] for members in lists], 0))


def _padded(graph: _Graph, x: str, groups: Groups) -> str:
    x = graph.swap(x)
    rank, channels = len(graph.shape) + 1, graph.shape[0]
    padding = [0] * (2 * rank)
    padding[rank] = 1
    table = np.full((len(groups), max(map(len, groups))), channels)
    for row, members in zip(table, groups, strict=True):
        row[: len(members)] = members
    padded = graph.add("Pad", x, graph.constant(padding))
    return graph.swap(graph.reduce(graph.gather(padded, table, 0), 1))


def _matrix(graph: _Graph, x: str, groups: Groups) -> str:
    matrix = np.zeros((len(groups), graph.shape[0]))
    for number, members in enumerate(groups):
        matrix[number, list(members)] = 1
    if len(graph.shape) == 1:
        stored = graph.constant(matrix.T, np.int8)
        return graph.add("MatMul", x, graph.add("Cast", stored, to=TensorProto.FLOAT))
    stored = graph.constant(matrix.reshape(*matrix.shape, *(1 for _ in graph.shape[1:])), np.int8)
    return graph.add("Conv", x, graph.add("Cast", stored, to=TensorProto.FLOAT))


FORMS: dict[str, Callable[[_Graph, str, Groups], str]] = {
    "by size, channels first": lambda graph, x, groups: _by_size(graph, x, groups, front=True),
    "by size, in place": lambda graph, x, groups: _by_size(graph, x, groups, front=False),
    "ScatterND": _scatter_nd,
    "ScatterND in rounds": _scatter_rounds,
    "ScatterElements": _scatter_elements,
    "pairs": _pairs,
    "padded": _padded,
    "0/1 matrix": _matrix,
}


def model(form: str, groups: Groups, shape: Sequence[int]) -> bytes:
    """Return an ONNX file that sums groups of the channels of ``x``, ``(batch, *shape)``."""
    graph = _Graph(shape)
    out = FORMS[form](graph, "x", groups)
    graph.nodes.append(helper.make_node("Identity", [out], ["y"]))
    made = helper.make_graph(
        graph.nodes,
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", len(groups), *shape[1:]])],
        graph.constants,
    )
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(whole)
    return bytes(whole.SerializeToString())
