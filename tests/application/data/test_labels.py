"""Labels: classes are taken from every kind of dataset, and labels of other tasks are refused with the task's name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from torch_growl.application.data.labels import check_labels
from torch_growl.application.data.reading import Reading
from torch_growl.application.data.splits import Splits, TensorSplit
from torch_growl.application.tasks import build_task
from torch_growl.errors import DataError

CLASSES = build_task("classification")
X = torch.zeros(100, 3)
Y = torch.arange(100) % 5


class Listed(Dataset[Any]):
    """A dataset of a user, with labels of any form."""

    def __init__(self, labels: list[Any]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
        return X[index], self.labels[index]


def splits(train: Any, **others: Any) -> Splits:
    return Splits("own:data", train, others.get("validation", train), others.get("test", train), (3,), None)


@pytest.mark.parametrize(
    "dataset",
    [
        TensorSplit(X, Y),
        TensorDataset(X, Y),
        Subset(TensorDataset(X, Y), [3, 4, 9]),
        Listed(Y.tolist()),
        Listed(list(Y)),
    ],
    ids=["TensorSplit", "TensorDataset", "Subset", "integers", "tensors"],
)
def test_classes_are_accepted_up_to_the_number_of_outputs(dataset: Dataset[Any]) -> None:
    check_labels(splits(dataset), CLASSES)
    check_labels(splits(dataset), CLASSES, 5)
    with pytest.raises(DataError, match="of its train set go up to class 4, but the network has 4 outputs"):
        check_labels(splits(dataset), CLASSES, 4)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            torch.zeros(100),
            "are float32 of shape (100,), as for task 'regression'; task 'classification' needs one int64",
        ),
        (torch.zeros(100, 1), "are float32 of shape (100, 1), as for task 'regression'"),
        (torch.zeros(100, 4), "are float32 of shape (100, 4), as for task 'multilabel';"),
        (torch.zeros(100, 4) + 0.5, "are float32 of shape (100, 4), as for task 'regression';"),
        (torch.zeros(100, 4, dtype=torch.int64), "are int64 of shape (100, 4), as for task 'multilabel'"),
        (torch.full((100, 4), 7), "are int64 of shape (100, 4), as for task 'language-model'"),
        (torch.zeros(100, 8, 8, dtype=torch.int64), "are int64 of shape (100, 8, 8), as for task 'segmentation'"),
        (torch.zeros(100, dtype=torch.int32), "are int32 of shape (100,); task 'classification' needs one int64 class"),
        (torch.full((100,), -100), "must be classes ≥ 0, found -100"),
        (torch.tensor([3] * 99 + [-1]), "must be classes ≥ 0, found -1"),
    ],
)
def test_labels_of_another_task_are_refused(labels: torch.Tensor, said: str) -> None:
    with pytest.raises(DataError) as caught:
        check_labels(splits(TensorDataset(X, labels)), CLASSES)
    assert f"data.name = 'own:data': the labels of its train set {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0.5] * 9, "are float64 of shape (9,), as for task 'regression'"),
        (["cat"] * 9, "must be tensors or numbers, got a str; task 'classification' needs one int64 class"),
        ([{"boxes": 1}] * 9, "must be tensors or numbers, got a dict"),
        ([torch.zeros(n) for n in range(9)], "cannot be put into one tensor"),
    ],
)
def test_labels_of_another_form_are_refused(labels: list[Any], said: str) -> None:
    with pytest.raises(DataError, match="the labels of its train set ") as caught:
        check_labels(splits(Listed(labels)), CLASSES)
    assert said in str(caught.value)


def test_every_split_is_checked() -> None:
    good, wrong = TensorDataset(X, Y), TensorDataset(X, Y + 1)
    for part in ("validation", "test"):
        with pytest.raises(DataError, match=f"of its {part} set go up to class 5, but the network has 5 outputs"):
            check_labels(splits(good, **{part: wrong}), CLASSES, 5)


class Streamed(IterableDataset[Any]):
    """Dicts without end, with labels under another of the names."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield {"pixels": X[0], "target": 0.25}


def test_labels_of_dicts_and_of_streams_are_found_and_missing_ones_are_named() -> None:
    check_labels(splits(Streamed()), build_task("regression"))
    with pytest.raises(DataError, match="train set are float64 of shape \\(64,\\), as for task 'regression'"):
        check_labels(splits(Streamed()), CLASSES)
    without: Any = [{"x": X[0]}]
    with pytest.raises(DataError, match="of its train set are missing: a dict must have 'labels'"):
        check_labels(splits(without), CLASSES)


def test_examples_are_put_together_by_the_users_function() -> None:
    uneven: Any = [(torch.zeros(n), torch.zeros(n, dtype=torch.int64)) for n in (3, 5)]
    with pytest.raises(DataError, match="cannot be put into one tensor"):
        check_labels(splits(uneven), build_task("language-model"))
    padded = Reading(collate=lambda found: tuple(pad_sequence(part, True) for part in zip(*found, strict=True)))
    check_labels(splits(uneven), build_task("language-model"), reading=padded)
