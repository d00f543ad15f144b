"""Batches of a dataset: what of them the network reads, and what the labels are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from torch_growl.errors import DataError
from torch_growl.networks.execution import Inputs

__all__ = ["LABELS", "Batch", "read_batch", "share_of"]

LABELS = ("labels", "label", "targets", "target")  # the entry of a dict that is not passed to the network


def share_of(count: int, rank: int, processes: int) -> slice:
    """The examples of a batch that are one process's; shares differ by one example at most."""
    return slice(rank * count // processes, (rank + 1) * count // processes)


@dataclass(frozen=True)
class Batch:
    """One batch, or one example.

    Attributes:
        inputs: the network's positional and named inputs.
        labels: the labels; None in a dict without them.
    """

    inputs: Inputs
    labels: Any

    @property
    def example_inputs(self) -> Any:
        """The inputs as the library takes them: a tensor, a tuple of tensors or a dict."""
        positional, named = self.inputs
        return named or (positional[0] if len(positional) == 1 else positional)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with all tensors on a device."""
        inputs, labels = pytree.tree_map_only(Tensor, lambda value: value.to(device), (self.inputs, self.labels))
        return Batch(inputs, labels)

    def share(self, rank: int, processes: int) -> Batch:
        """The examples of one of several processes; shares differ by one example at most.

        Raises:
            DataError: a tensor has another number of examples than the others, or there are fewer than processes.
        """
        leaves = [leaf for leaf in pytree.tree_leaves((self.inputs, self.labels)) if isinstance(leaf, Tensor)]
        if any(leaf.ndim == 0 or len(leaf) != len(self) for leaf in leaves) or len(self) < processes:
            raise DataError(
                f"a batch of {len(self)} examples cannot be divided among {processes} processes: every tensor must "
                "have one entry for each example, and each process needs one; change batch_size, or use fewer processes"
            )
        own = share_of(len(self), rank, processes)
        return Batch(*pytree.tree_map_only(Tensor, lambda value: value[own], (self.inputs, self.labels)))

    def __len__(self) -> int:
        first = next(leaf for leaf in pytree.tree_leaves(self.inputs) if isinstance(leaf, Tensor))
        return len(first)


def read_batch(found: Any, where: str = "a batch of the data") -> Batch:
    """Read a batch: a tuple, whose last entry is the labels, or a dict, whose entry ``labels`` is.

    Args:
        found: what a loader gives, or one example of a dataset. In place of ``labels`` a dict may have ``label``,
            ``target`` or ``targets``.
        where: its name in messages.

    Raises:
        DataError: it has another form, or no tensor in it.
    """
    if isinstance(found, Mapping):
        named = dict(found)
        key = next((key for key in LABELS if key in named), None)
        batch = Batch(((), {name: value for name, value in named.items() if name != key}), named.get(key or ""))
    elif isinstance(found, tuple | list) and len(found) > 1:
        *inputs, labels = found
        batch = Batch((tuple(inputs), {}), labels)
    else:
        raise DataError(
            f"{where} must be a tuple (inputs, …, labels) or a dict of inputs and 'labels', got {type(found).__name__}"
        )
    if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(batch.inputs)):
        raise DataError(f"{where} must hold at least one input that is a tensor, got {_kinds(batch.inputs)}")
    return batch


def _kinds(inputs: Inputs) -> str:
    positional, named = inputs
    kinds = {str(name): value for name, value in (*enumerate(positional), *named.items())}
    return ", ".join(f"{name}: {type(value).__name__}" for name, value in kinds.items()) or "nothing"
