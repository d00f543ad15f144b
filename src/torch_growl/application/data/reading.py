"""Batches of a split: of tensors in memory, of any map-style dataset and of any iterable dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from torch_growl.application.data.splits import TensorSplit
from torch_growl.errors import DataError

__all__ = ["Reading", "batches", "epoch_batches", "first_examples", "steps_in"]

Collate = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Reading:
    """The settings by which examples are read and put together.

    Attributes:
        workers: processes that read a dataset that is not in memory; 0: none.
        collate: makes a batch of a list of examples; None: torch's ``default_collate``.
        steps_per_epoch: of an iterable dataset; None: counted in a pass over it.
    """

    workers: int = 0
    collate: Collate | None = None
    steps_per_epoch: int | None = None


IN_PROCESS = Reading()


def batches(
    split: Dataset[Any],
    size: int,
    seed: int | None = None,
    drop_last: bool = False,
    reading: Reading = IN_PROCESS,
) -> Iterator[Any]:
    """Yield batches of a split, shuffled and augmented with a seed, or in order without one.

    An iterable dataset has its own order; one with a method ``set_epoch`` gets a number of the epoch.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    if isinstance(split, TensorSplit):
        n = len(split)
        order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
        for start in range(0, n - size + 1 if drop_last else n, size):
            yield split.batch(order[start : start + size], generator)
        return
    iterable = isinstance(split, IterableDataset)
    if iterable and seed is not None and callable(set_epoch := getattr(split, "set_epoch", None)):
        set_epoch(seed % 2**31)
    yield from DataLoader(
        split,
        batch_size=size,
        shuffle=None if iterable else generator is not None,
        generator=generator,
        drop_last=drop_last,
        num_workers=reading.workers,
        collate_fn=reading.collate,
    )


def epoch_batches(split: Any, size: int, seed: int, steps: int, reading: Reading, stage: str) -> Iterator[Any]:
    """Yield the batches of an epoch; an iterable dataset that ends before the last step begins again.

    Args:
        split: the training examples.
        size: examples in a batch.
        seed: of order and augmentation.
        steps: batches in the epoch.
        reading: how examples are read.
        stage: the name of the training, for errors.
    """
    done = 0
    while done < steps:
        before = done
        for batch in batches(split, size, seed, drop_last=True, reading=reading):
            yield batch
            done += 1
            if done == steps:
                return
        if done == before:
            raise DataError(f"stage {stage}: the train set has no batch of {size} examples; lower batch_size")


def steps_in(split: Dataset[Any], size: int, reading: Reading) -> tuple[int, int]:
    """The size of a batch, and the optimizer steps in an epoch.

    Args:
        split: the training examples.
        size: the batch size of the recipe; a smaller split is one batch.
        reading: how they are read.
    """
    if isinstance(split, IterableDataset):
        steps = reading.steps_per_epoch or sum(1 for _ in batches(split, size, drop_last=True, reading=reading))
        if not steps:
            raise DataError(f"the iterable train set has no batch of {size} examples; lower batch_size")
        return size, steps
    size = min(size, len(cast(Any, split)))
    return size, len(cast(Any, split)) // size


def first_examples(split: Dataset[Any], count: int, reading: Reading) -> Any:
    """A batch of at most ``count`` examples, the first ones."""
    if isinstance(split, TensorSplit):
        return split.batch(torch.arange(min(count, len(split))))
    if isinstance(split, IterableDataset):
        examples = list(islice(iter(split), count))
    else:
        examples = [split[i] for i in range(min(count, len(cast(Any, split))))]
    return (reading.collate or default_collate)(examples)
