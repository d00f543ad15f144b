"""The metric of a network on a split, and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from torch_growl.application.data import IN_PROCESS, Reading, batches
from torch_growl.application.tasks import Task, build_task
from torch_growl.networks.execution import call

__all__ = ["evaluate", "standard_error"]

_PARTS = 20  # of a split, for the standard error of a metric


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: Dataset[Any],
    device: torch.device,
    task: Task | None = None,
    *,
    size: int = 500,
    reading: Reading = IN_PROCESS,
) -> float:
    """Compute the metric on a split; the network runs in eval mode, and its mode is restored.

    Args:
        model: the network, on the device.
        split: the examples.
        device: of the network.
        task: it has the metric; None: classification, whose accuracy is a share of 1.
        size: examples in a batch.
        reading: how they are read.
    """
    task = task or build_task("classification")
    return task.score(sum(_sums(model, split, device, task, size, reading), torch.zeros(())))


@torch.inference_mode()
def standard_error(
    model: nn.Module, split: Dataset[Any], device: torch.device, task: Task, *, size: int, reading: Reading = IN_PROCESS
) -> float:
    """Estimate the standard error of the metric on a split, by leaving out a twentieth of its examples at a time.

    Args:
        model, split, device, task, reading: as for :func:`evaluate`.
        size: examples in a batch at most; a batch is left out at a time where the number of examples is not known.

    Returns:
        The error (the jackknife's, for any metric); 0 if there are not two batches.
    """
    if not isinstance(split, IterableDataset):
        size = max(1, min(size, len(split) // _PARTS))  # type: ignore[arg-type]
    parts = list(_sums(model, split, device, task, size, reading))
    if len(parts) < 2:
        return 0.0
    total = torch.stack(parts).sum(0)
    without = torch.tensor([task.score(total - part) for part in parts], dtype=torch.float64)
    return math.sqrt((len(parts) - 1) * float(without.var(correction=0)))


def _sums(
    model: nn.Module, split: Dataset[Any], device: torch.device, task: Task, size: int, reading: Reading
) -> Iterator[Tensor]:
    """Yield the sums of every batch; the network runs in eval mode meanwhile."""
    was_training = model.training
    model.eval()
    for found in batches(split, size, reading=reading):
        batch = task.read(found).to(device)
        yield task.sums(task.output(call(model, batch.inputs)), batch.labels).cpu()
    model.train(was_training)
