"""Export to ONNX: one file, checked in onnxruntime."""

from __future__ import annotations

import os
import re
from typing import Any

import torch
from torch import Tensor

from torch_growl.arguments import check_count
from torch_growl.errors import ExportError
from torch_growl.networks.execution import Inputs, tensors
from torch_growl.networks.exporting.exported import (
    Exported,
    checked_target,
    root_cause,
    write_exported,
)
from torch_growl.networks.exporting.extras import imported_extra
from torch_growl.networks.exporting.traced import Run, Traced, quiet, traced_and_checked

__all__ = ["export_onnx"]

_LIMIT = 2**31 - 2**20  # a protobuf message ends at 2 GiB; room for the graph


def export_onnx(
    model: torch.nn.Module,
    example_inputs: Any,
    path: str | os.PathLike[str],
    *,
    dynamic_batch: bool = True,
    tolerance: float = 1e-4,
    opset: int = 18,
) -> Exported:
    """Write a network as one ONNX file, checked in onnxruntime.

    Tied inputs are summed by Gather, Add and ReduceSum, which constant folding cannot turn back into full-size weights
    and which runtimes compute correctly with any number of threads. The file holds no paths and no source lines.

    Args:
        model: the network, compact or not; not modified. A copy in eval mode is exported.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones.
        path: the file; its folder must exist, and an existing file is replaced only when the new one is checked.
        dynamic_batch: allow any batch size. Where the network's code does not allow it, the file takes the example's
            batch size, with a warning.
        tolerance: largest difference allowed, as a part of an element's size, in (0, 1); half precision has its own
            table, :data:`torch_growl.networks.execution.outputs.HALF_TOLERANCE`.
        opset: version of ONNX's operators, ≥ 18.

    Returns:
        The path, size and largest difference of the file.

    Raises:
        ExportError: a package of the ``onnx`` extra is missing or too old, the network cannot be exported, or
            onnxruntime gives other outputs; nothing is written then.
        InvalidTypeError: ``model`` is no module, or the inputs are of another type.
        InvalidValueError: an argument is out of range.

    Warns:
        GrowlWarning: the file takes the example's batch size only.

    Example:
        >>> import pathlib, tempfile, torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = tg.export_onnx(model, torch.zeros(2, 4), pathlib.Path(folder) / "small.onnx")
        >>> written.path.name, written.dynamic_batch, written.difference < 1e-4
        ('small.onnx', True, True)
    """
    check_count("opset", opset, least=18)
    target = checked_target(path)
    with imported_extra("onnx"):
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (the exporter needs it)
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    def finish(traced: Traced) -> tuple[bytes, float]:
        floating = [*traced.network.parameters(), *tensors(traced.example)]
        if any(value.dtype == torch.bfloat16 for value in floating):
            raise ExportError("onnxruntime does not compute in bfloat16; export a copy in float32 (model.float())")
        if sum(value.nbytes for value in traced.network.state_dict().values()) > _LIMIT:
            raise ExportError("the network is larger than the 2 GiB that one ONNX file can hold")
        try:
            with quiet():
                program = torch.onnx.export(traced.program, dynamo=True, opset_version=opset, verbose=False)
                assert program is not None  # None is for the exporter that came before
                ClearMetadataAndDocStringPass()(program.model)
                proto = program.model_proto
                _name_sizes_(proto, traced)
                onnx.checker.check_model(proto)
                data = proto.SerializeToString()
        except Exception as error:  # operators that the exporter does not know
            raise ExportError(f"torch.onnx cannot export the network: {root_cause(error)}") from error
        if (found := max(item.version for item in proto.opset_import if not item.domain)) != opset:
            raise ExportError(f"the network needs ONNX opset {found}, it cannot be written in {opset}")

        def load() -> Run:
            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
            names = [entry.name for entry in session.get_inputs()]

            def run(inputs: Inputs) -> list[Tensor]:
                given = dict(zip(names, [x.numpy() for x in tensors(inputs)], strict=True))
                return [torch.from_numpy(value) for value in session.run(None, given)]

            return run

        return data, traced.compare("onnxruntime", load)

    traced, (data, difference) = traced_and_checked(
        model, example_inputs, finish, dynamic_batch=dynamic_batch, tolerance=tolerance, scatter_free=True
    )
    return write_exported(target, data, difference, dynamic_batch=traced.dynamic_batch)


def _name_sizes_(proto: Any, traced: Traced) -> None:
    """Name the open sizes where torch numbered them: "batch", and "size_D_of_input_I" for dimension D of input I."""
    names: dict[str, str] = {}
    values = [node.meta["val"] for node in traced.program.graph.nodes if node.name in _inputs_of(traced)]
    for place, value in enumerate(values):
        for dim, size in enumerate(value.shape if isinstance(value, Tensor) else ()):
            if isinstance(size, torch.SymInt):
                names.setdefault(
                    str(size.node.expr), "batch" if not dim and not names else f"size_{dim}_of_input_{place}"
                )
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = re.sub(
                    r"\bs\d+\b", lambda found: names.get(found[0], found[0]), dimension.dim_param
                )


def _inputs_of(traced: Traced) -> set[str]:
    return set(traced.program.graph_signature.user_inputs)
