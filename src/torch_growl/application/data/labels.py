"""Labels of the splits, which must fit the recipe's task; labels of other tasks are refused before training.

Labels that are all in memory are all checked; of other datasets those of the first examples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from torch_growl.application.data.reading import IN_PROCESS, Reading, first_examples
from torch_growl.application.data.splits import Splits, TensorSplit
from torch_growl.application.tasks import Task
from torch_growl.errors import DataError, GrowlError, first_line

__all__ = ["check_labels"]

_FIRST = 64  # examples of a dataset whose labels are not in memory


def check_labels(splits: Splits, task: Task, n_classes: int | None = None, reading: Reading = IN_PROCESS) -> None:
    """Check that the labels of every split fit a task.

    Args:
        splits: the data of a run.
        task: the run's.
        n_classes: the number of classes of the network's outputs, which labels must be below; None: not checked.
        reading: how examples are put together.

    Raises:
        DataError: labels are not what the task needs, or not below ``n_classes``.
    """
    if not task.labels:
        return
    for part in ("train", "validation", "test"):
        where = f"data.name = {splits.name!r}: the labels of its {part} set"
        labels = _labels(getattr(splits, part), task, reading, where)
        if fault := task.labels_fault(labels):
            raise DataError(f"{where} {fault}{_hint(labels, task)}; task {task.name!r} needs {task.labels}")
        if n_classes is not None and int(labels.max()) >= n_classes:
            raise DataError(
                f"{where} go up to class {int(labels.max())}, but the network has {n_classes} outputs; it needs "
                "as many outputs as there are classes, counted from 0"
            )


def _hint(labels: Tensor, task: Task) -> str:
    """Name the task that labels look like."""
    if labels.is_floating_point():
        one = labels.ndim == 1 or labels.shape[1:].numel() == 1
        binary = bool(((labels == 0) | (labels == 1)).all())
        like = "multilabel" if labels.ndim == 2 and not one and binary else "regression"
    elif labels.dtype == torch.int64:
        like = {
            1: "classification",
            2: "multilabel" if int(labels.max()) < 2 else "language-model",
            3: "segmentation",
        }.get(labels.ndim, "")
    else:
        like = ""
    return f", as for task {like!r}" if like not in ("", task.name) else ""


def _labels(dataset: Dataset[Any], task: Task, reading: Reading, where: str) -> Tensor:
    """Return labels, of all examples if they are in memory."""
    if isinstance(dataset, TensorSplit):
        return dataset.y
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2 and reading.collate is None:
        return dataset.tensors[1]
    if type(dataset) is Subset and not isinstance(dataset.dataset, IterableDataset):
        labels = _labels(dataset.dataset, task, reading, where)
        if len(labels) == len(dataset.dataset):  # type: ignore[arg-type]
            return labels[torch.as_tensor(dataset.indices)]
    return _first_labels(dataset, task, reading, where)


def _first_labels(dataset: Dataset[Any], task: Task, reading: Reading, where: str) -> Tensor:
    try:
        labels = task.read(first_examples(dataset, _FIRST, reading)).labels
    except GrowlError:
        raise
    except Exception as error:  # examples of any form
        raise DataError(
            f"{where} cannot be put into one tensor ({first_line(error)}); task {task.name!r} needs {task.labels}"
        ) from error
    if labels is None:
        raise DataError(f"{where} are missing: a dict must have 'labels'; task {task.name!r} needs {task.labels}")
    if not isinstance(labels, Tensor):
        kind = type(labels[0] if isinstance(labels, list | tuple) and len(labels) else labels).__name__
        raise DataError(f"{where} must be tensors or numbers, got a {kind}; task {task.name!r} needs {task.labels}")
    return labels
