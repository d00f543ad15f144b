"""Reading: the order of batches, in this process and in workers, of maps and of streams."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from torch_growl.application.data.digits import load_digits_splits
from torch_growl.application.data.reading import Place, Reading, batches, first_examples, is_divided, steps_in
from torch_growl.application.data.splits import TensorSplit


def split(n: int = 50) -> TensorSplit:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1))
    return TensorSplit(x, (x[:, 0] > 0).long())


def test_batches_are_in_order_without_a_seed_and_shuffled_with_one() -> None:
    data = split()
    in_order = torch.cat([x for x, _ in batches(data, 16)])
    assert torch.equal(in_order, data.x)
    one, same, other = (torch.cat([x for x, _ in batches(data, 16, seed)]) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(one.sort(dim=0).values, in_order.sort(dim=0).values)
    assert [len(x) for x, _ in batches(data, 16, drop_last=True)] == [16, 16, 16]


def test_a_plain_dataset_has_the_same_batches_in_order() -> None:
    data = split()
    plain = TensorDataset(data.x, data.y)
    assert torch.equal(torch.cat([x for x, _ in batches(plain, 16)]), data.x)
    one, same, other = (torch.cat([x for x, _ in batches(plain, 16, seed)]) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


class Stream(IterableDataset[Any]):
    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        for i in range(10):
            yield torch.full((2,), float(i)), self.epoch


def test_a_stream_has_its_own_order_and_gets_a_number_of_the_epoch() -> None:
    x, y = next(iter(batches(Stream(), 8, seed=2**40 + 7)))
    assert x[:, 0].tolist() == list(range(8))
    assert y.tolist() == [7] * 8
    assert [len(x) for x, _ in batches(Stream(), 4)] == [4, 4, 2]


@pytest.mark.parametrize(
    ("given", "steps", "wanted"),
    [(split(), None, (16, 3)), (split(9), None, (9, 1)), (Stream(), None, (4, 2)), (Stream(), 70, (4, 70))],
)
def test_an_epoch_has_all_whole_batches_or_the_steps_asked_for(given: Any, steps: Any, wanted: tuple[int, int]) -> None:
    size = 4 if isinstance(given, Stream) else 16
    assert steps_in(given, size, Reading(steps_per_epoch=steps)) == wanted


def test_the_first_examples_are_a_batch_of_every_kind_of_dataset() -> None:
    data = split()
    for dataset in (data, TensorDataset(data.x, data.y)):
        assert torch.equal(first_examples(dataset, 8, Reading())[0], data.x[:8])
    assert first_examples(Stream(), 80, Reading())[0].shape == (10, 2)
    assert first_examples(TensorDataset(data.x, data.y), 3, Reading(collate=len)) == 3


@pytest.mark.slow
def test_workers_read_the_same_batches_in_the_same_order() -> None:
    data = split()
    plain = TensorDataset(data.x, data.y)
    alone, helped = (
        torch.cat([x for x, _ in batches(plain, 16, 5, reading=Reading(workers=workers))]) for workers in (0, 2)
    )
    assert torch.equal(alone, helped)


class Read(Dataset[Any]):
    """A dataset that keeps the numbers of the examples that were read, and may draw for each one."""

    def __init__(self, draws: Any = None) -> None:
        self.read: list[int] = []
        self._draws = draws

    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.read.append(index)
        return torch.tensor([float(index)]) + (0 if self._draws is None else float(self._draws())), index


def moved(data: TensorSplit, kind: type[TensorSplit] = TensorSplit) -> TensorSplit:
    """A split with an augmentation that is a function of the whole batch."""
    return kind(data.x, data.y, lambda x, generator: x + torch.rand(len(x), 1, generator=generator))


class Noisy(TensorSplit):
    def batch(self, indices: torch.Tensor, generator: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = super().batch(indices, generator)
        return x * torch.rand(len(x), 1, generator=generator), y


@pytest.mark.parametrize(
    "make",
    [
        split,
        lambda: moved(split()),
        lambda: moved(split(), Noisy),
        Read,
        lambda: load_digits_splits(shift=1).train,
    ],
)
@pytest.mark.parametrize("processes", [2, 3])
def test_the_parts_that_processes_read_are_the_batches_of_one(make: Any, processes: int) -> None:
    places = [Place(rank, processes) for rank in range(processes)]
    assert all(is_divided(make(), 16, Reading(), place) for place in places)
    whole = list(batches(make(), 16, 3, True))
    parts = [list(batches(make(), 16, 3, True, place=place)) for place in places]
    together = [tuple(map(torch.cat, zip(*each, strict=True))) for each in zip(*parts, strict=True)]
    assert len(whole) == len(together) > 2
    assert all(
        torch.equal(a, b) for one, them in zip(whole, together, strict=True) for a, b in zip(one, them, strict=True)
    )


@pytest.mark.parametrize("make", [split, Read, Stream])
def test_without_a_seed_processes_read_whole_batches_in_turn(make: Any) -> None:
    whole = list(batches(make(), 4))
    turns = [list(batches(make(), 4, place=Place(rank, 2))) for rank in range(2)]
    assert [len(turn) for turn in turns] == [(len(whole) + 1) // 2, len(whole) // 2]
    in_turn = [turns[number % 2][number // 2] for number in range(len(whole))]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole, in_turn, strict=True))


def test_a_process_reads_no_example_of_another() -> None:
    read = [Read(), Read()]
    for rank, data in enumerate(read):
        list(batches(data, 16, 3, True, place=Place(rank, 2)))
    assert [len(data.read) for data in read] == [24, 24]
    assert not set(read[0].read) & set(read[1].read)


@pytest.mark.parametrize(
    ("data", "size", "reading"),
    [
        (Read(lambda: torch.rand(())), 16, Reading()),
        (Read(lambda: np.random.rand()), 16, Reading()),  # noqa: NPY002
        (Read(random.random), 16, Reading()),
        (Read(), 16, Reading(collate=list)),
        (Read(), 1, Reading()),
        (Stream(), 4, Reading()),
    ],
)
def test_what_depends_on_other_examples_is_read_whole_and_nothing_is_drawn(data: Any, size: int, reading: Any) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert not is_divided(data, size, reading, Place(1, 2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()  # noqa: NPY002
