"""Compact networks as ONNX, ``torch.export`` and ExecuTorch files, each checked in its runtime before it is written."""

from torch_growl.networks.exporting.executorch import export_executorch
from torch_growl.networks.exporting.onnx import export_onnx
from torch_growl.networks.exporting.onnx_layers import onnx_layer
from torch_growl.networks.exporting.torch_export import checked_program, export_program
from torch_growl.networks.exporting.traced import quiet, traced_and_checked, warn_fixed_batch

__all__ = [
    "checked_program",
    "export_executorch",
    "export_onnx",
    "export_program",
    "onnx_layer",
    "quiet",
    "traced_and_checked",
    "warn_fixed_batch",
]
