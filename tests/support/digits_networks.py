"""A small MLP on the digits of sklearn, and its training, for tests of penalties."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import Optimizer


@cache
def digits() -> tuple[Tensor, Tensor]:
    """The images as ``(1797, 64)`` in [0, 1], and their labels, shuffled."""
    found = load_digits()
    order = torch.randperm(len(found.data), generator=torch.Generator().manual_seed(0))
    return torch.tensor(found.data / 16, dtype=torch.float32)[order], torch.tensor(found.target)[order]


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def train(model: nn.Module, optimizer: Optimizer, steps: int, after: Callable[[], object] = lambda: None) -> None:
    """Train on random batches of 64 of the first 1,400 images; seeded by torch's global generator."""
    x, y = digits()
    for _ in range(steps):
        batch = torch.randint(0, 1400, (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
        after()


def accuracy(model: nn.Module) -> float:
    """The share of the other images that the network tells rightly."""
    x, y = digits()
    with torch.no_grad():
        return float((model(x[1400:]).argmax(1) == y[1400:]).float().mean())
