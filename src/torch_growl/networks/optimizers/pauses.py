"""A pause in a training, in which the network is judged, and the smaller steps before it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from torch_growl.networks.optimizers.formulas import is_schedule_free

__all__ = ["SlowerStep", "kept_random_state", "paused"]


@contextmanager
def kept_random_state(devices: Sequence[int] | None = None) -> Iterator[None]:
    """Put the states of all random generators back after a block: those of torch, numpy and Python.

    Args:
        devices: numbers of the CUDA devices whose generators are kept; None: all.
    """
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002  # the global one, which users seed
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)


@contextmanager
def paused(model: nn.Module, optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Put a network into eval mode for a block; modes and the states of random generators are as before at its end.

    Schedule-free optimizers, which train other weights than those to be judged, are put into eval mode too.

    Args:
        model: the network in training.
        optimizers: all that train it.
    """
    modes = [(module, module.training) for module in model.modules()]
    switched = [cast(Any, optimizer) for optimizer in optimizers if is_schedule_free(optimizer)]
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    for optimizer in switched:
        optimizer.eval()
    model.eval()
    try:
        with kept_random_state(devices), torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for optimizer in switched:
            optimizer.train()


class SlowerStep:
    """Lowers the learning rates of an optimizer within a step; between steps they are those of its schedule."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._rates: list[Any] | None = None  # of the groups, within a slower step

    def begin(self, share: float) -> None:
        """Lower the learning rates to a share of what they are."""
        self.end()  # a step that raised an error was not ended
        if share != 1:
            self._rates = [group["lr"] for group in self._optimizer.param_groups]
            for group in self._optimizer.param_groups:
                group["lr"] = group["lr"] * share

    def end(self) -> None:
        """Set the learning rates to what they were."""
        for group, rate in zip(self._optimizer.param_groups, self._rates or (), strict=False):
            group["lr"] = rate
        self._rates = None
