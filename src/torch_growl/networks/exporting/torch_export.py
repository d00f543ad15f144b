"""Export to a ``torch.export`` program (``.pt2``), checked by loading it again."""

from __future__ import annotations

import io
import os
from typing import Any

import torch
from torch import Tensor

from torch_growl.checksums import seal_archive
from torch_growl.networks.execution import Inputs, tensors
from torch_growl.networks.exporting.exported import Exported, checked_target, write_exported
from torch_growl.networks.exporting.traced import Run, Traced, quiet, traced_and_checked

__all__ = ["checked_program", "export_program"]


def export_program(
    model: torch.nn.Module,
    example_inputs: Any,
    path: str | os.PathLike[str],
    *,
    dynamic_batch: bool = True,
    tolerance: float = 1e-4,
) -> Exported:
    """Write a network as a ``torch.export`` program, which ``torch.export.load`` loads without the network's code.

    The example inputs are not in the file.

    Args:
        model: as for :func:`export_onnx`.
        example_inputs: as for :func:`export_onnx`.
        path: as for :func:`export_onnx`; ``.pt2`` by custom.
        dynamic_batch: as for :func:`export_onnx`.
        tolerance: as for :func:`export_onnx`.

    Returns:
        The path, size and largest difference of the file.

    Raises:
        ExportError: the network cannot be traced, or the program gives other outputs when it is loaded again; nothing
            is written then.
        InvalidTypeError: ``model`` is no module, or the inputs are of another type.
        InvalidValueError: an argument is out of range.

    Warns:
        GrowlWarning: the file takes the example's batch size only.

    Example:
        >>> import pathlib, tempfile, torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = tg.export_program(model, torch.zeros(2, 4), pathlib.Path(folder) / "small.pt2")
        ...     program = torch.export.load(written.path).module()
        >>> program(torch.zeros(5, 4)).shape
        torch.Size([5, 3])
    """
    target = checked_target(path)

    traced, (data, difference) = traced_and_checked(
        model, example_inputs, checked_program, dynamic_batch=dynamic_batch, tolerance=tolerance, scatter_free=False
    )
    return write_exported(target, data, difference, dynamic_batch=traced.dynamic_batch)


def checked_program(traced: Traced, records: dict[str, str] | None = None) -> tuple[bytes, float]:
    """Serialize a traced network without its example inputs and source lines, load it again and compare outputs.

    The archive ends with a checksum, which :func:`torch_growl.load_program` checks and torch does not.

    Args:
        traced: the network; its program is modified.
        records: texts to store in the archive, by name.

    Returns:
        The bytes of a ``.pt2`` file, and the largest difference from the network's outputs, as a part of the largest.

    Raises:
        ExportError: the program cannot be loaded again, or gives other outputs.
    """
    _without_origin_(traced.program)
    file = io.BytesIO()  # the archive of a file on disk would hold its temporary name
    with quiet():
        torch.export.save(traced.program, file, extra_files=dict(records or {}))
    seal_archive(file)
    data = file.getvalue()

    def load() -> Run:
        with quiet():
            loaded = torch.export.load(io.BytesIO(data)).module()

        def run(inputs: Inputs) -> list[Tensor]:
            args, kwargs = inputs
            with torch.no_grad():
                return tensors(loaded(*args, **kwargs))

        return run

    return data, traced.compare("torch.export", load)


def _without_origin_(program: torch.export.ExportedProgram) -> None:
    """Remove the example inputs, which may be private data, and lines of source code."""
    program.example_inputs = None
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
