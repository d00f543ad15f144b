"""Single layers as ONNX models, made in milliseconds where an export takes seconds: to time them, not to keep them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from torch_growl.networks.compaction import SelectInputs
from torch_growl.networks.exporting.extras import imported_extra

__all__ = ["onnx_layer"]

_OPSET, _IR = 18, 8


def onnx_layer(module: nn.Module, example: Tensor) -> bytes | None:
    """Return the ONNX model of one Linear or convolution, with random weights, or of a selection of inputs.

    Args:
        module: the layer; only its sizes and settings are read. Padding counts as padding with zeros.
        example: an input, ``float32``.

    Returns:
        The model; None for layers of another type.

    Raises:
        ExportError: the package onnx is missing.
    """
    with imported_extra("onnx"):
        import onnx
        from onnx import helper, numpy_helper

    random = np.random.default_rng(0)

    def constant(name: str, shape: tuple[int, ...]) -> Any:
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)

    old = cast(Any, module)
    if isinstance(module, SelectInputs):
        held = [numpy_helper.from_array(module.index.numpy(), "index")]
        nodes = [helper.make_node("Gather", ["x", "index"], ["y"], axis=example.ndim + module.dim)]
    elif isinstance(module, nn.Linear):
        held = [constant("w", (old.in_features, old.out_features)), constant("b", (old.out_features,))]
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
        if example.ndim != 2:
            nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    elif isinstance(module, nn.modules.conv._ConvNd):
        pads = _pads(module)
        settings = {
            "kernel_shape": old.kernel_size,
            "strides": old.stride,
            "dilations": old.dilation,
            "group": old.groups,
            "pads": [before for before, _ in pads] + [after for _, after in pads],
        }
        if old.transposed:
            settings["output_padding"] = old.output_padding
        held = [constant("w", tuple(old.weight.shape)), constant("b", (old.out_channels,))]
        nodes = [helper.make_node("ConvTranspose" if old.transposed else "Conv", ["x", "w", "b"], ["y"], **settings)]
    else:
        return None
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(example.shape))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        held,
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    return cast(bytes, helper.make_model(graph, opset_imports=opsets, ir_version=_IR).SerializeToString())


def _pads(module: nn.Module) -> list[tuple[int, int]]:
    """The padding before and after, in each dimension."""
    old = cast(Any, module)
    if not isinstance(old.padding, str):
        return [(size, size) for size in old.padding]
    whole = [0 if old.padding == "valid" else d * (k - 1) for d, k in zip(old.dilation, old.kernel_size, strict=True)]
    return [(size // 2, size - size // 2) for size in whole]
