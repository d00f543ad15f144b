"""Export to ExecuTorch (``.pte``), checked in its runtime."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from torch_growl.errors import ExportError
from torch_growl.networks.execution import Inputs, tensors
from torch_growl.networks.exporting.exported import (
    Exported,
    checked_target,
    root_cause,
    write_exported,
)
from torch_growl.networks.exporting.extras import imported_extra
from torch_growl.networks.exporting.traced import Run, Traced, quiet

__all__ = ["export_executorch"]


def export_executorch(
    model: torch.nn.Module, example_inputs: Any, path: str | os.PathLike[str], *, tolerance: float = 1e-4
) -> Exported:
    """Write a network for ExecuTorch, PyTorch's runtime for phones and small devices: XNNPACK, then portable kernels.

    The file takes the example's batch size only, because ExecuTorch plans its memory beforehand.

    Args:
        model: as for :func:`export_onnx`.
        example_inputs: as for :func:`export_onnx`.
        path: as for :func:`export_onnx`; ``.pte`` by custom.
        tolerance: as for :func:`export_onnx`.

    Returns:
        The path, size and largest difference of the file.

    Raises:
        ExportError: the ``executorch`` extra is missing or too old, the network cannot be lowered, or ExecuTorch's
            runtime gives other outputs; nothing is written then.
        InvalidTypeError: ``model`` is no module, or the inputs are of another type.
        InvalidValueError: an argument is out of range.

    Example:
        >>> import pathlib, tempfile, torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = tg.export_executorch(model, torch.zeros(2, 4), pathlib.Path(folder) / "small.pte")
        >>> written.path.name, written.dynamic_batch, written.difference < 1e-4
        ('small.pte', False, True)
    """
    target = checked_target(path)
    with imported_extra("executorch"), quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
        from executorch.runtime import Runtime
    traced = Traced(model, example_inputs, dynamic_batch=False, tolerance=tolerance, scatter_free=True)
    try:
        with quiet():
            lowered = to_edge_transform_and_lower(traced.program, partitioner=[XnnpackPartitioner()])
            data = bytes(lowered.to_executorch().buffer)
    except Exception as error:  # operators that ExecuTorch has no kernel for
        raise ExportError(f"ExecuTorch cannot lower the network: {root_cause(error)}") from error

    def load() -> Run:
        method = Runtime.get().load_program(data).load_method("forward")
        if method is None:
            raise ExportError("its runtime has no method 'forward'")

        def run(inputs: Inputs) -> list[Tensor]:
            return [value.clone() for value in tensors(method.execute(tensors(inputs)))]

        return run

    difference = traced.compare("ExecuTorch", load)
    return write_exported(target, data, difference, dynamic_batch=False)
