"""Batches of a split: of tensors in memory, of any map-style dataset and of any iterable dataset."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, default_collate

from torch_growl.application.data.splits import TensorSplit
from torch_growl.application.tasks import share_of
from torch_growl.errors import DataError
from torch_growl.networks.optimizers import kept_random_state

__all__ = ["Place", "Reading", "batches", "epoch_batches", "first_examples", "is_divided", "steps_in"]

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


@dataclass(frozen=True)
class Place:
    """The place of a process among several.

    Attributes:
        rank: its number, from 0.
        processes: how many there are.
    """

    rank: int = 0
    processes: int = 1

    def of(self, count: int) -> slice:
        """The examples of a batch that are this process's."""
        return share_of(count, self.rank, self.processes)


ALONE = Place()


class _Shares(BatchSampler):
    """The indices of one process's examples of every batch."""

    def __init__(self, sampler: RandomSampler, size: int, drop_last: bool, place: Place) -> None:
        super().__init__(sampler, size, drop_last)
        self._place = place

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield batch[self._place.of(len(batch))]


def is_divided(split: Dataset[Any], size: int, reading: Reading, place: Place) -> bool:
    """Tell whether each of several processes can read its own examples of a batch, and get what one process would.

    An iterable dataset has to be read whole. So has one that draws random numbers for an example, since they depend on
    the examples read before, and one with a ``collate``, which may make something of a batch that depends on all of it.
    """
    if place.processes == 1 or isinstance(split, IterableDataset) or size < place.processes:
        return False
    if isinstance(split, TensorSplit):
        return True
    return reading.collate is None and not _draws(cast(Any, split))


def _draws(split: Sequence[Any]) -> bool:
    """Tell whether reading examples draws random numbers of torch, numpy or Python."""
    with kept_random_state():
        before = _random_states()
        for index in {0, len(split) // 2, len(split) - 1}:
            split[index]
        after = _random_states()
    same_numpy = all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    return not (torch.equal(before[0], after[0]) and same_numpy and before[2] == after[2])


def _random_states() -> tuple[Tensor, Any, Any]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002


def batches(
    split: Dataset[Any],
    size: int,
    seed: int | None = None,
    drop_last: bool = False,
    reading: Reading = IN_PROCESS,
    place: Place = ALONE,
) -> Iterator[Any]:
    """Yield batches of a split, shuffled and augmented with a seed, or in order without one.

    An iterable dataset has its own order; one with a method ``set_epoch`` gets a number of the epoch.

    Args:
        split: the examples.
        size: examples in a batch.
        seed: of order and augmentation; None: in order.
        drop_last: whether a smaller batch at the end is left out.
        reading: how examples are read.
        place: of several processes; with a seed and ``drop_last`` each yields its examples of every batch, where
            :func:`is_divided`, and without a seed whole batches: the first process the first one, and so on in turn.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    if isinstance(split, TensorSplit):
        n = len(split)
        order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
        for number, start in enumerate(range(0, n - size + 1 if drop_last else n, size)):
            indices = order[start : start + size]
            if generator is not None and place.processes > 1:
                yield split.part(indices, generator, place.of(len(indices)))
            elif generator is not None or number % place.processes == place.rank:
                yield split.batch(indices, generator)
        return
    iterable = isinstance(split, IterableDataset)
    if iterable and seed is not None and callable(set_epoch := getattr(split, "set_epoch", None)):
        set_epoch(seed % 2**31)
    how: dict[str, Any] = {"generator": generator, "num_workers": reading.workers, "collate_fn": reading.collate}
    if place.processes > 1 and not iterable:
        examples = cast(Any, split)
        if generator is None:
            starts = range(place.rank * size, len(examples), place.processes * size)
            own: Any = [range(start, min(start + size, len(examples))) for start in starts]
        else:  # the order is the DataLoader's own
            own = _Shares(RandomSampler(examples, generator=generator), size, drop_last, place)
        yield from DataLoader(split, batch_sampler=own, **how)
        return
    found = DataLoader(
        split, batch_size=size, shuffle=None if iterable else generator is not None, drop_last=drop_last, **how
    )
    yield from islice(found, place.rank if generator is None else 0, None, place.processes if generator is None else 1)


def epoch_batches(
    split: Any, size: int, seed: int, steps: int, reading: Reading, stage: str, place: Place = ALONE
) -> Iterator[Any]:
    """Yield the batches of an epoch; an iterable dataset that ends before the last step begins again.

    Args:
        split: the training examples.
        size: examples in a batch.
        seed: of order and augmentation.
        steps: batches in the epoch.
        reading: how examples are read.
        stage: the name of the training, for errors.
        place: of several processes, where :func:`is_divided`.
    """
    done = 0
    while done < steps:
        before = done
        for batch in batches(split, size, seed, drop_last=True, reading=reading, place=place):
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
