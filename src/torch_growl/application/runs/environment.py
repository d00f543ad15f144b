"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import platform
from typing import Any

import torch

from torch_growl.version import __version__

__all__ = ["environment_record"]


def environment_record(device: torch.device) -> dict[str, Any]:
    """Versions, machine, device and threads, for ``result.json`` and benchmarks."""
    return {
        "torch_growl": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
