"""The device and the processes that a run trains on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState

from torch_growl.errors import GrowlWarning, InvalidValueError

__all__ = ["accelerator_for"]

_LONGEST = timedelta(days=2)  # that processes wait for one another: the first one ties, compacts and measures alone
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
    made = Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[InitProcessGroupKwargs(timeout=_LONGEST)])
    if made.num_processes == 1 and {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= set(os.environ):
        warnings.warn(
            "accelerate launch has started one process for --num_processes; on CPUs it starts several with --multi_gpu",
            GrowlWarning,
            stacklevel=2,
        )
    if device in _PRESENT and made.device.type != device:
        raise InvalidValueError(
            f"device is {device!r}, but accelerate chooses {made.device.type!r} on this machine; use --device auto"
        )
    return made
