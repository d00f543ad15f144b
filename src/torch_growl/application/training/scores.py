"""The metric of a network on a split, and how far it can be trusted."""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from torch_growl.application.data import ALONE, IN_PROCESS, Place, Reading, batches
from torch_growl.application.tasks import Task, build_task
from torch_growl.networks.execution import call
from torch_growl.networks.sharding import is_spread

__all__ = ["evaluate", "standard_error"]

_PARTS = 20  # of a split, for the standard error of a metric


def evaluate(
    model: nn.Module,
    split: Dataset[Any],
    device: torch.device,
    task: Task | None = None,
    *,
    size: int = 500,
    reading: Reading = IN_PROCESS,
    place: Place = ALONE,
) -> float:
    """Compute the metric on a split; the network runs in eval mode, and its mode is restored.

    Args:
        model: the network, on the device.
        split: the examples.
        device: of the network.
        task: it has the metric; None: classification, whose accuracy is a share of 1.
        size: examples in a batch.
        reading: how they are read.
        place: of several processes, which all call this with the same weights: each tests some of the batches, and all
            get the same number, bit for bit that of one process on the same kind of device.
    """
    task = task or build_task("classification")
    return task.score(sum(_sums(model, split, device, task, size, reading, place), torch.zeros(())))


def standard_error(
    model: nn.Module,
    split: Dataset[Any],
    device: torch.device,
    task: Task,
    *,
    size: int,
    reading: Reading = IN_PROCESS,
    place: Place = ALONE,
) -> float:
    """Estimate the standard error of the metric on a split, by leaving out a twentieth of its examples at a time.

    Args:
        model, split, device, task, reading, place: as for :func:`evaluate`.
        size: examples in a batch at most; a batch is left out at a time where the number of examples is not known.

    Returns:
        The error (the jackknife's, for any metric); 0 if there are not two batches.
    """
    if not isinstance(split, IterableDataset):
        size = max(1, min(size, len(split) // _PARTS))  # type: ignore[arg-type]
    parts = _sums(model, split, device, task, size, reading, place)
    if len(parts) < 2:
        return 0.0
    total = torch.stack(parts).sum(0)
    without = torch.tensor([task.score(total - part) for part in parts], dtype=torch.float64)
    return math.sqrt((len(parts) - 1) * float(without.var(correction=0)))


def _sums(
    model: nn.Module, split: Dataset[Any], device: torch.device, task: Task, size: int, reading: Reading, place: Place
) -> list[Tensor]:
    """Compute the sums of every batch; the network runs in eval mode meanwhile."""
    if place.processes == 1 or is_spread(model):  # every process takes part in each run of sharded weights
        return _own_sums(model, split, device, task, size, reading, ALONE)
    every: list[list[list[float]]] = [[] for _ in range(place.processes)]
    own = _own_sums(model, split, device, task, size, reading, place)
    torch.distributed.all_gather_object(every, [sums.tolist() for sums in own])
    in_order = [sums for together in zip_longest(*every) for sums in together if sums is not None]
    return [torch.tensor(sums, dtype=torch.float64) for sums in in_order]


@torch.inference_mode()
def _own_sums(
    model: nn.Module, split: Dataset[Any], device: torch.device, task: Task, size: int, reading: Reading, place: Place
) -> list[Tensor]:
    was_training = model.training
    model.eval()
    found = []
    for given in batches(split, size, reading=reading, place=place):
        batch = task.read(given).to(device)
        found.append(task.sums(task.output(call(model, batch.inputs)), batch.labels).cpu())
    model.train(was_training)
    return found
