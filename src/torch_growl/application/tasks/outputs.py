"""Outputs of a network, described for messages, and the type in which sums over them are computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["described", "widest"]


def described(output: Any) -> str:
    """Describe an output in a few words."""
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    kind = type(output).__name__
    fields = list(output) if isinstance(output, Mapping) else list(getattr(output, "__dict__", ()))
    entries = f" with {', '.join(map(str, fields))}" if fields else ""
    return f"{'an' if kind[0] in 'AEIOaeiou' else 'a'} {kind}{entries}"


def widest(device: torch.device) -> torch.dtype:
    """Return the type in which sums over batches are computed: float64, but float32 on Apple's GPUs, which lack it."""
    return torch.float32 if device.type == "mps" else torch.float64
