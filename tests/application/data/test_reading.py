"""Reading: the order of batches, in this process and in workers, of maps and of streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset

from torch_growl.application.data.reading import Reading, batches, first_examples, steps_in
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
