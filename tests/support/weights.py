"""Counts of a network's weights."""

from __future__ import annotations

from torch import nn


def weights(network: nn.Module) -> int:
    """Weights of linear layers and convolutions, without biases and batch normalisation."""
    return sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d))
