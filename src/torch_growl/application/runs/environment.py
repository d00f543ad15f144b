"""The device that a run trains on, and the machine and the versions that a figure was measured with."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from torch_growl.errors import InvalidValueError
from torch_growl.version import __version__

__all__ = ["accelerator_for", "environment_record"]

_PRESENT: dict[str, tuple[str, Callable[[], bool]]] = {
    "cuda": ("CUDA device", lambda: torch.cuda.is_available()),
    "mps": ("Apple GPU (MPS)", lambda: torch.backends.mps.is_available()),
    "xpu": ("Intel GPU (XPU)", lambda: torch.xpu.is_available()),
}


def accelerator_for(device: str, precision: str) -> Accelerator:
    """Make the accelerator of a run; one process may do several runs, each with its own device and precision.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``mps`` or ``xpu``; auto: the first of the last three that this machine
            has, otherwise the CPU.
        precision: ``no``, ``bf16`` or ``fp16``.

    Raises:
        InvalidValueError: this machine has no such device, or runs cannot use it beside another one.
    """
    if device in _PRESENT and not _PRESENT[device][1]():
        raise InvalidValueError(
            f"device is {device!r}, but this machine has no {_PRESENT[device][0]}; use --device cpu"
        )
    cpu = device == "cpu" or not any(there() for _, there in _PRESENT.values())
    AcceleratorState._reset_state(reset_partial_state=True)
    made = Accelerator(cpu=cpu, mixed_precision=precision)
    if device in _PRESENT and made.device.type != device:
        raise InvalidValueError(
            f"device is {device!r}, but accelerate chooses {made.device.type!r} on this machine; use --device auto"
        )
    return made


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
