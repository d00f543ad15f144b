"""The learning rate along a training, and its optimizer."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer

from torch_growl.application.recipes import Phase

__all__ = ["learning_rate", "make_optimizer"]


def learning_rate(phase: Phase, epoch: float) -> float:
    """Compute the learning rate at a time counted in epochs from 0."""
    rate = phase.lr
    if phase.warmup_epochs and epoch < phase.warmup_epochs:
        return rate * (epoch + 0.01) / phase.warmup_epochs
    if phase.schedule == "step":
        return float(rate * phase.gamma ** (int(epoch) // phase.step_size))
    if phase.schedule == "cosine":
        done = (epoch - phase.warmup_epochs) / max(phase.epochs - phase.warmup_epochs, 1)
        return rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return rate


def make_optimizer(model: nn.Module, phase: Phase) -> Optimizer:
    """Make the phase's optimizer of all parameters that require gradients."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if phase.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=phase.lr, momentum=phase.momentum, nesterov=phase.nesterov, weight_decay=phase.weight_decay
        )
    adam = torch.optim.AdamW if phase.optimizer == "adamw" else torch.optim.Adam
    return adam(parameters, lr=phase.lr, weight_decay=phase.weight_decay)
