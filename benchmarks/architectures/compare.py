"""Compares the outputs of two networks."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.networks.execution.example_inputs import call, split_inputs

__all__ = ["difference", "leaves", "outputs_of", "rounding", "spread"]


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Any) -> list[Tensor]:
    """Return every floating tensor of the output, in order."""
    found = leaves(call(model, split_inputs(pytree.tree_map_only(Tensor, torch.clone, inputs))))
    assert found
    return found


def leaves(value: Any) -> list[Tensor]:
    """Yield the floating tensors in nested sequences, mappings and transformers' outputs."""
    if hasattr(value, "to_tuple"):
        value = value.to_tuple()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value] if isinstance(value, Tensor) and value.is_floating_point() else []


def difference(dense: nn.Module, small: nn.Module, inputs: Any) -> float:
    """Return the largest difference of any output relative to its largest value; infinite if shapes differ."""
    worst = 0.0
    for wanted, found in zip(outputs_of(dense, inputs), outputs_of(small, inputs), strict=True):
        if wanted.shape != found.shape:
            return float("inf")
        scale = float(wanted.abs().max())
        off = float((wanted.double() - found.double()).abs().max())
        if not math.isfinite(off):  # max() would pass over NaN
            return float("inf")
        worst = max(worst, off / scale if scale else (float("inf") if off else 0.0))
    return worst


def rounding(dense: nn.Module, inputs: Any) -> float:
    """Return the difference between the network's outputs in float32 and in float64."""
    wide = copy.deepcopy(dense).double()
    exact = pytree.tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, inputs)
    worst = 0.0
    for wanted, found in zip(outputs_of(wide, exact), outputs_of(dense, inputs), strict=True):
        worst = max(worst, float((wanted - found.double()).abs().max()) / float(wanted.abs().max()))
    return worst


def spread(dense: nn.Module, inputs: Any, others: Any) -> float:
    """Return how much the outputs differ between inputs, relative to the largest value; the least of all outputs."""
    pairs = zip(outputs_of(dense, inputs), outputs_of(dense, others), strict=True)
    return min(float((one - other).abs().max()) / float(one.abs().max()) for one, other in pairs)
