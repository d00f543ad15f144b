"""Training, validation and test examples, and how rows are dealt out to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from torch_growl.arguments import check_count
from torch_growl.errors import DataError

__all__ = ["Splits", "TensorSplit", "limited", "stratified"]

Transform = Callable[[Tensor, torch.Generator | None], Tensor]


class TensorSplit(Dataset[tuple[Tensor, Tensor]]):
    """Examples held in memory, given out in whole batches.

    Args:
        x: inputs, ``(n, *shape)``, any type; kept as it is, not copied.
        y: classes, ``(n,)``, int64.
        transform: called with a batch of ``x`` and a CPU generator, or None for the version of an example that has
            nothing random in it; gives the network's input.

    Raises:
        DataError: the lengths differ, there are no examples, or classes are not int64.
    """

    def __init__(self, x: Tensor, y: Tensor, transform: Transform | None = None) -> None:
        if y.ndim != 1 or len(x) != len(y) or not len(y):
            raise DataError(
                f"a split needs as many inputs as classes, at least one: {tuple(x.shape)}, {tuple(y.shape)}"
            )
        if y.dtype != torch.int64:
            raise DataError(f"classes must be int64, got {y.dtype}")
        self.x = x
        self.y = y
        self.transform = transform

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One example, without random augmentation: the input and its class as a scalar tensor."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        x, y = self.batch(torch.tensor([index % len(self)]))
        return x[0], y[0]

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Some examples at once.

        Args:
            indices: which, ``(b,)``, int64, on CPU.
            generator: a CPU generator for augmentation; None: no augmentation.

        Returns:
            Inputs ``(b, …)`` as the network takes them, and classes ``(b,)``, int64.
        """
        x, y = self.x[indices], self.y[indices]
        return (x if self.transform is None else self.transform(x, generator)), y


@dataclass(frozen=True)
class Splits:
    """The data of a run.

    Attributes:
        name: the dataset's.
        train: what the network is fitted to. Any map-style dataset of (input, class) pairs; the built-in ones are
            :class:`TensorSplit`.
        validation: what settings are chosen by.
        test: what is reported, and nothing else is done with.
        input_shape: of one input, without the batch dimension.
        n_classes: how many classes there are; None when it is not known (a user's own dataset that does not say).
        pixel_shape: height and width when the flat inputs are the pixels of one image, row by row; else None.
    """

    name: str
    train: Dataset[Any]
    validation: Dataset[Any]
    test: Dataset[Any]
    input_shape: tuple[int, ...]
    n_classes: int | None
    pixel_shape: tuple[int, int] | None = None


def stratified(y: Tensor, held_out: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Deal rows out to two parts, each with the same shares of the classes, always the same for the same seed.

    Args:
        y: classes, ``(n,)``.
        held_out: size of the second part.
        seed: any.

    Returns:
        The rows of each part, int64, in ascending order.
    """
    from sklearn.model_selection import train_test_split

    kept, out = train_test_split(range(len(y)), test_size=held_out, stratify=y.numpy(), random_state=seed)
    return torch.tensor(sorted(kept)), torch.tensor(sorted(out))


def limited(rows: int, limit: int | None) -> int:
    """How many training rows are used: all, or the first ``limit``; validation and test sets always stay whole.

    Raises:
        InvalidTypeError, InvalidValueError: ``limit`` is not an integer from 1 to ``rows``.
    """
    if limit is None:
        return rows
    return check_count("limit", limit, most=rows, unit="training examples")
