"""Counts how much smaller a network is, in bytes of parameters, buffers and indices, as ``compression.network``."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.networks.storage.encoding import packed_bytes

__all__ = ["clustered_ratio", "compacted", "matrices", "ratio", "sizes"]


def sizes(model: nn.Module, example: Tensor) -> tuple[int, int]:
    """Return the bytes of a network, indices at their stored width, and its MACs."""
    found = tg.measure(model, example, latency=False)
    packed = 0
    if found.index_bytes:
        packed = packed_bytes(tg.structure_of(model))
    return found.bytes - found.index_bytes + packed, found.macs


def ratio(dense: nn.Module, small: nn.Module, example: Tensor) -> dict[str, float]:
    """Return how many times fewer bytes and MACs a network has."""
    (dense_bytes, dense_macs), (small_bytes, small_macs) = sizes(dense, example), sizes(small, example)
    return {"network": dense_bytes / small_bytes, "macs": dense_macs / max(small_macs, 1)}


def compacted(model: nn.Module, example: Tensor) -> nn.Module:
    """Return the compact network, without a warning if nothing could be removed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)
        return tg.compact(model, example)


def matrices(model: nn.Module) -> int:
    """Count as the paper does: weights of convolutions and linear layers."""
    return sum(p.numel() for p in model.parameters() if p.ndim > 1)


def clustered_ratio(dense: nn.Module, example: Tensor, layers: dict[str, int]) -> dict[str, float]:
    """Return the ratio for weights that are indices into a codebook: ⌈log₂ c⌉ bits a weight, c float32 values a layer.

    Args:
        dense: the network.
        example: an input.
        layers: for every clustered layer its number of values, c.
    """
    total, _ = sizes(dense, example)
    small = total
    for name, count in layers.items():
        weight = dense.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        small += math.ceil(weight.numel() * math.ceil(math.log2(count)) / 8) + 4 * count - weight.nbytes
    return {"network": total / small, "macs": 1.0}
