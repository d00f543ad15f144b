"""Networks written for other runtimes: ONNX, torch.export's pt2 and ExecuTorch's pte, each tried before it is kept.

A file appears only after the runtime it is for has given the network's outputs from it, on the example and on random
inputs; otherwise nothing is written, and a file that was there stays as it is.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torch_growl.errors import ExportError, InvalidValueError, first_line
from torch_growl.networks.execution import Inputs, tensors
from torch_growl.networks.exporting.traced import Traced, quiet

__all__ = ["Exported", "export_executorch", "export_onnx", "export_program"]

_ONNX_LIMIT = 2**31 - 2**20  # a protobuf message ends at 2 GiB; room for the graph


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: where.
        bytes: its size.
        difference: largest difference from the network's outputs, as a part of the largest output.
        dynamic_batch: whether it takes any batch size.
    """

    path: Path
    bytes: int
    difference: float
    dynamic_batch: bool

    def __str__(self) -> str:
        batch = "any batch size" if self.dynamic_batch else "the example's batch size"
        return f"{self.path}: {self.bytes:,} bytes, {batch}, outputs within {self.difference:.1e} of the largest"


def export_onnx(
    model: nn.Module,
    example_inputs: Any,
    path: str | os.PathLike[str],
    *,
    dynamic_batch: bool = True,
    tolerance: float = 1e-4,
    opset: int = 18,
) -> Exported:
    """Write a network as one ONNX file, checked in onnxruntime.

    Tied inputs are summed by Gather, Add and ReduceSum, which no constant folding can turn back into full-size weights
    and which any runtime computes alike with any number of threads. The file holds no paths and no source lines.

    Args:
        model: the network, compact or not; not modified. A copy in eval mode is exported.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones.
        path: where; its folder must exist, and an existing file is replaced only when the new one is checked.
        dynamic_batch: take any batch size. Where the network's code does not allow it, the example's is kept, with a
            warning.
        tolerance: largest difference allowed, as a part of the largest output, in (0, 1); half precision has its own
            table, :data:`torch_growl.networks.execution.outputs.HALF_TOLERANCE`.
        opset: version of ONNX's operators, ≥ 18.

    Raises:
        ExportError: a package of the ``onnx`` extra is missing, the network cannot be exported, or onnxruntime gives
            other outputs; nothing is written then.
        InvalidValueError: an argument is out of range.
    """
    if opset < 18:
        raise InvalidValueError(f"opset must be ≥ 18, got {opset}")
    target = _target(path)
    with _extra("onnx"):
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (the exporter needs it)
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    traced = Traced(model, example_inputs, dynamic_batch=dynamic_batch, tolerance=tolerance, scatter_free=True)
    floating = [*traced.network.parameters(), *tensors(traced.example)]
    if any(value.dtype == torch.bfloat16 for value in floating):
        raise ExportError("onnxruntime does not compute in bfloat16; export a copy in float32 (model.float())")
    if sum(value.nbytes for value in traced.network.state_dict().values()) > _ONNX_LIMIT:
        raise ExportError("the network is larger than the 2 GiB that one ONNX file can hold")
    try:
        with quiet():
            program = torch.onnx.export(traced.program, dynamo=True, opset_version=opset, verbose=False)
            assert program is not None  # None is for the exporter that came before
            ClearMetadataAndDocStringPass()(program.model)
            proto = program.model_proto
            _name_batch_(proto)
            onnx.checker.check_model(proto)
            data = proto.SerializeToString()
    except Exception as error:  # the exporter's, for operators it does not know
        raise ExportError(f"torch.onnx cannot export the network: {_cause(error)}") from error
    if (found := max(item.version for item in proto.opset_import if not item.domain)) != opset:
        raise ExportError(f"the network needs ONNX opset {found}, it cannot be written in {opset}")

    def check(temporary: Path) -> float:
        temporary.write_bytes(data)
        session = onnxruntime.InferenceSession(os.fspath(temporary), providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]

        def run(inputs: Inputs) -> list[Tensor]:
            given = dict(zip(names, [x.numpy() for x in tensors(inputs)], strict=True))
            return [torch.from_numpy(value) for value in session.run(None, given)]

        return traced.compare("onnxruntime", run)

    return _written(target, check, traced.dynamic_batch)


def export_program(
    model: nn.Module,
    example_inputs: Any,
    path: str | os.PathLike[str],
    *,
    dynamic_batch: bool = True,
    tolerance: float = 1e-4,
) -> Exported:
    """Write a network as a ``torch.export`` program, to be loaded by ``torch.export.load`` without the network's code.

    The example inputs are not in the file.

    Args:
        model: as for :func:`export_onnx`.
        example_inputs: as for :func:`export_onnx`.
        path: as for :func:`export_onnx`; ``.pt2`` by custom.
        dynamic_batch: as for :func:`export_onnx`.
        tolerance: as for :func:`export_onnx`.

    Raises:
        ExportError: the network cannot be traced, or the program read back gives other outputs.
    """
    target = _target(path)
    traced = Traced(model, example_inputs, dynamic_batch=dynamic_batch, tolerance=tolerance, scatter_free=False)

    def check(temporary: Path) -> float:
        buffer = io.BytesIO()
        _without_origin_(traced.program)
        with quiet():
            torch.export.save(traced.program, buffer)
            temporary.write_bytes(buffer.getvalue())
            with open(temporary, "rb") as file:
                loaded = torch.export.load(io.BytesIO(file.read())).module()

        def run(inputs: Inputs) -> list[Tensor]:
            args, kwargs = inputs
            with torch.no_grad():
                return tensors(loaded(*args, **kwargs))

        return traced.compare("the program read back", run)

    return _written(target, check, traced.dynamic_batch)


def export_executorch(
    model: nn.Module, example_inputs: Any, path: str | os.PathLike[str], *, tolerance: float = 1e-4
) -> Exported:
    """Write a network for ExecuTorch, PyTorch's runtime for phones and small devices: XNNPACK, then portable kernels.

    The batch size is the example's: ExecuTorch plans its memory beforehand.

    Args:
        model: as for :func:`export_onnx`.
        example_inputs: as for :func:`export_onnx`.
        path: as for :func:`export_onnx`; ``.pte`` by custom.
        tolerance: as for :func:`export_onnx`.

    Raises:
        ExportError: the ``executorch`` extra is missing, the network cannot be lowered, or ExecuTorch's runtime gives
            other outputs; nothing is written then.
    """
    target = _target(path)
    with _extra("executorch"), quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
        from executorch.runtime import Runtime
    traced = Traced(model, example_inputs, dynamic_batch=False, tolerance=tolerance, scatter_free=True)
    try:
        with quiet():
            lowered = to_edge_transform_and_lower(traced.program, partitioner=[XnnpackPartitioner()])
            data = lowered.to_executorch().buffer
    except Exception as error:  # operators without a kernel there
        raise ExportError(f"ExecuTorch cannot lower the network: {_cause(error)}") from error

    def check(temporary: Path) -> float:
        temporary.write_bytes(data)
        method = Runtime.get().load_program(temporary).load_method("forward")
        if method is None:
            raise ExportError("ExecuTorch's runtime does not load what was exported")

        def run(inputs: Inputs) -> list[Tensor]:
            return tensors([value.clone() for value in tensors(method.execute(tensors(inputs)))])

        return traced.compare("ExecuTorch", run)

    return _written(target, check, False)


def _name_batch_(proto: Any) -> None:
    """Call the open batch dimension "batch" where torch numbered it: it is the only open one."""
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = re.sub(r"\bs\d+\b", "batch", dimension.dim_param)


def _without_origin_(program: torch.export.ExportedProgram) -> None:
    """Drop what a file need not tell: the example inputs, which may be somebody's data, and lines of source code."""
    program.example_inputs = None
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)


def _target(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir():
        raise InvalidValueError(f"path must be a file in a folder that exists, got {target}")
    return target


@contextmanager
def _extra(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        missing = error.name or first_line(error)
        raise ExportError(
            f"{missing} cannot be imported; install it with: pip install 'torch-growl[{name}]'"
        ) from error


def _written(target: Path, check: Callable[[Path], float], dynamic_batch: bool) -> Exported:
    """Let ``check`` write and try a file under a temporary name, then swap it in."""
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        try:
            difference = check(temporary)
        except (ExportError, OSError):
            raise
        except Exception as error:  # a runtime that does not load what its exporter made
            raise ExportError(f"what was exported cannot be loaded: {first_line(error)}") from error
        size = temporary.stat().st_size
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(target, size, difference, dynamic_batch)


def _cause(error: BaseException) -> str:
    """What lies under exporters' layers of errors, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
