"""Labels of the splits: a run trains classifiers, so they must be classes, and other tasks are refused before training.

Labels that are all in memory are all checked; of other datasets those of the first examples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset, default_collate

from torch_growl.application.data.splits import Splits, TensorSplit
from torch_growl.errors import DataError, first_line

__all__ = ["check_labels"]

_FIRST = 64  # examples of a dataset whose labels are not in memory


def check_labels(splits: Splits, n_outputs: int | None = None) -> None:
    """Check that the labels of every split are classes.

    Args:
        splits: the data of a run.
        n_outputs: the number of the network's outputs, which the classes must be below; None: not checked.

    Raises:
        DataError: labels are no integers, not one for each example, negative, or not below ``n_outputs``.
    """
    for part in ("train", "validation", "test"):
        where = f"data.name = {splits.name!r}: the labels of its {part} set"
        labels = _labels(getattr(splits, part), where)
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise DataError(
                f"{where} are {str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
                f"{_task(labels)}; growl run trains classifiers only, with one int64 class for each example: (n,)"
            )
        if int(labels.min()) < 0:
            raise DataError(f"{where} must be classes ≥ 0, found {int(labels.min())}; leave such examples out")
        if n_outputs is not None and int(labels.max()) >= n_outputs:
            raise DataError(
                f"{where} go up to class {int(labels.max())}, but the network has {n_outputs} outputs; it needs "
                "as many outputs as there are classes, counted from 0"
            )


def _task(labels: Tensor) -> str:
    """Name the task that labels look like."""
    if labels.is_floating_point():
        return ", as for regression" if labels.ndim == 1 or labels.shape[1:].numel() == 1 else ", as for several labels"
    if labels.ndim == 2:
        return ", as for several labels or a language model"
    return ", as for segmentation" if labels.ndim > 2 else ""


def _labels(dataset: Dataset[Any], where: str) -> Tensor:
    """Return labels, of all examples if they are in memory."""
    if isinstance(dataset, TensorSplit):
        return dataset.y
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2:
        return dataset.tensors[1]
    if type(dataset) is Subset:
        labels = _labels(dataset.dataset, where)
        whole = len(labels) == len(dataset.dataset)  # type: ignore[arg-type]
        return labels[torch.as_tensor(dataset.indices)] if whole else _first_labels(dataset, where)
    return _first_labels(dataset, where)


def _first_labels(dataset: Dataset[Any], where: str) -> Tensor:
    try:
        labels = default_collate([dataset[i][1] for i in range(min(_FIRST, len(dataset)))])  # type: ignore[arg-type]
    except Exception as error:  # examples of any form
        raise DataError(
            f"{where} cannot be put into one tensor ({first_line(error)}); each must be one class"
        ) from error
    if not isinstance(labels, Tensor):
        raise DataError(f"{where} must be classes, each an integer, got a {type(dataset[0][1]).__name__}")
    return labels
