"""Outputs of a network: the tensor of predictions in a tensor, a tuple, a dict or an object with fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["described", "predictions_in", "widest"]

FIELDS = ("logits", "out", "prediction", "predictions")  # transformers, torchvision's segmentation, users' own


def predictions_in(output: Any) -> Tensor | None:
    """Find the predictions in a network's output; None if there are none.

    They are the output itself; the field or entry ``logits``, ``out``, ``prediction`` or ``predictions``; or the first
    tensor of a tuple that is not a scalar, such as a loss.
    """
    if isinstance(output, Tensor):
        return output
    for name in FIELDS:
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    if isinstance(output, tuple | list):
        return next((value for value in output if isinstance(value, Tensor) and value.ndim), None)
    return None


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
