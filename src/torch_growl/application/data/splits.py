"""Splits of a dataset: training, validation and test examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from torch_growl.arguments import check_count
from torch_growl.errors import DataError

__all__ = ["Augmentation", "Splits", "TensorSplit", "limited", "stratified"]

Transform = Callable[[Tensor, torch.Generator | None], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """A random transform that can be divided: what is drawn for a batch, and what becomes of each example by it.

    Attributes:
        draw: draws with a CPU generator for a number of examples; gives tensors with one entry for each example.
        apply: makes the inputs of the network of a batch of ``x`` and its drawn tensors; None: without augmentation.
    """

    draw: Callable[[int, torch.Generator], tuple[Tensor, ...]]
    apply: Callable[[Tensor, tuple[Tensor, ...] | None], Tensor]

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Transform a batch; without a generator it is not augmented."""
        return self.apply(x, None if generator is None else self.draw(len(x), generator))


class TensorSplit(Dataset[tuple[Tensor, Tensor]]):
    """Examples in memory, read in batches.

    Args:
        x: inputs, ``(n, *shape)``, any type; not copied.
        y: labels, ``(n, …)``, such as classes ``(n,)``, int64.
        transform: an :class:`Augmentation`, or a function of a batch of ``x`` and a CPU generator that returns inputs
            of the network; without a generator (None) it must not be random.

    Raises:
        DataError: the lengths differ, or there are no examples.
    """

    def __init__(self, x: Tensor, y: Tensor, transform: Transform | None = None) -> None:
        if not y.ndim or len(x) != len(y) or not len(y):
            raise DataError(f"a split needs as many inputs as labels, at least one: {tuple(x.shape)}, {tuple(y.shape)}")
        self.x = x
        self.y = y
        self.transform = transform

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Read one example without augmentation: the input and its label."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        x, y = self.batch(torch.tensor([index % len(self)]))
        return x[0], y[0]

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Read several examples.

        Args:
            indices: their indices, ``(b,)``, int64, on CPU.
            generator: a CPU generator for augmentation; None: no augmentation.

        Returns:
            Inputs of the network ``(b, …)`` and labels ``(b, …)``.
        """
        x, y = self.x[indices], self.y[indices]
        return (x if self.transform is None else self.transform(x, generator)), y

    def part(self, indices: Tensor, generator: torch.Generator, own: slice) -> tuple[Tensor, Tensor]:
        """Read a part of an augmented batch, as it is in the whole one.

        Args:
            indices: of the whole batch.
            generator: as for :meth:`batch`.
            own: the part.
        """
        if type(self).batch is TensorSplit.batch and isinstance(self.transform, Augmentation):
            drawn = tuple(each[own] for each in self.transform.draw(len(indices), generator))
            return self.transform.apply(self.x[indices[own]], drawn), self.y[indices[own]]
        if type(self).batch is TensorSplit.batch and self.transform is None:
            return self.batch(indices[own])
        x, y = self.batch(indices, generator)
        return x[own], y[own]


@dataclass(frozen=True)
class Splits:
    """The data of a run.

    Attributes:
        name: the dataset's name.
        train: examples for training: a map-style or iterable dataset of tuples (inputs, …, labels) or of dicts with
            ``labels``; the built-in ones are :class:`TensorSplit`.
        validation: examples for choosing settings.
        test: examples for the reported figures only.
        input_shape: the shape of one input, without the batch dimension; of the first tensor if there are several.
        n_classes: the number of classes; None if a user's dataset does not tell it.
        pixel_shape: height and width if inputs are flattened images, row by row; None otherwise.
        collate: makes a batch of a list of examples; None: torch's ``default_collate``.
    """

    name: str
    train: Dataset[Any]
    validation: Dataset[Any]
    test: Dataset[Any]
    input_shape: tuple[int, ...]
    n_classes: int | None
    pixel_shape: tuple[int, int] | None = None
    collate: Callable[[list[Any]], Any] | None = None


def stratified(y: Tensor, held_out: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Split examples into two parts with equal shares of the classes.

    Args:
        y: classes, ``(n,)``.
        held_out: size of the second part.
        seed: the same seed gives the same parts.

    Returns:
        The indices of each part, int64, ascending.
    """
    from sklearn.model_selection import train_test_split

    kept, out = train_test_split(range(len(y)), test_size=held_out, stratify=y.numpy(), random_state=seed)
    return torch.tensor(sorted(kept)), torch.tensor(sorted(out))


def limited(rows: int, limit: int | None) -> int:
    """Check the number of training examples that are used; None: all of them.

    Raises:
        InvalidTypeError, InvalidValueError: ``limit`` is not an integer from 1 to ``rows``.
    """
    if limit is None:
        return rows
    return check_count("limit", limit, most=rows, unit="training examples")
