"""Compact networks as ONNX, ``torch.export`` and ExecuTorch files, each tried in its runtime before it is kept."""

from torch_growl.networks.exporting.exported import export_executorch, export_onnx, export_program

__all__ = ["export_executorch", "export_onnx", "export_program"]
