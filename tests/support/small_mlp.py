"""A small network with named layers and one training step of it, for tests of the penalty."""

from __future__ import annotations

import torch
from torch import nn


def mlp() -> nn.Sequential:
    """10 inputs, layers ``fc1``, ``bn``, ``fc2`` and ``fc3``, 3 classes."""
    torch.manual_seed(1)
    model = nn.Sequential()
    model.add_module("fc1", nn.Linear(10, 16))
    model.add_module("relu", nn.ReLU())
    model.add_module("bn", nn.BatchNorm1d(16))
    model.add_module("fc2", nn.Linear(16, 12))
    model.add_module("fc3", nn.Linear(12, 3))
    return model


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    """One step on a random batch of that seed."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(32, 10, generator=generator), torch.randint(3, (32,), generator=generator)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
