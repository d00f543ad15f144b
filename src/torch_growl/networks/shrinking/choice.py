"""The choice of a network's rows for a target: how many channels of each kind go, and which ones, by least squares."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torch_growl.mathematics.clustering import PRUNED, Partition
from torch_growl.networks.execution import Inputs, without_autocast
from torch_growl.networks.layers import registered_kind, registered_layers, rows_of, write_rows_
from torch_growl.networks.moments import (
    LayerToFit,
    PairedRuns,
    Reader,
    float_outputs,
    merge_steps,
    output_error,
    split_batches,
)
from torch_growl.networks.shrinking.allocation import Curve, allocated
from torch_growl.networks.shrinking.channels import Alike
from torch_growl.networks.shrinking.ranking import ranked
from torch_growl.networks.targets import Counter, Summed
from torch_growl.networks.tying import averaged_rows

__all__ = ["Choice", "change_", "chosen_rows"]

_SHARES = (0.25, 0.5, 0.75, 0.95)  # of the channels of one kind, at which the outputs' error is measured
_SHARES_OF_ROWS = (*_SHARES[:-1], 0.85, 0.9, 0.95, 0.98)  # of the rows that read channels which stay
_DAMPING = 1e-3


@without_autocast()
def chosen_rows(
    dense: nn.Module,
    inputs: Sequence[Any],
    counter: Counter,
    kinds: Sequence[Alike],
    of: str,
    asked: float,
    *,
    ties: bool = False,
    tied: Collection[str] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Choose the rows to remove, and those to tie, so that at most what is asked for is left.

    If that is not enough, all go that may go.

    Args:
        dense: the network, plain and in eval mode; not modified.
        inputs: at least two batches, as for :func:`torch_growl.compensate_`.
        counter: of the network; it has looked at these weights.
        kinds: the channels that may go.
        of: the measure, weights, macs or bytes.
        asked: the most that may be left.
        ties: whether rows may be tied.
        tied: the layers whose equal rows stay equal in the training that follows; None: all.

    Returns:
        For every layer whose rows can be removed the label of each row: :data:`PRUNED`, or the row that it is tied to,
        itself if to none. Rows of the ``tied`` layers that are equal already are tied.
    """
    return Choice(dense, *split_batches(inputs), counter, kinds, ties=ties, tied=tied).labels(of, asked)


Steps = Sequence[tuple[int, int]]  # a channel of one kind that goes, and the one its row is tied to, or PRUNED


class Choice:
    """Finds the rows to remove from a dense network, and those to tie.

    Args:
        dense: the network, plain and in eval mode; not modified.
        fitting: inputs to take moments from.
        held: inputs on which the outputs' error is measured.
        counter: of the network; it has looked at these weights.
        kinds: the channels that may go.
        ties: whether rows may be tied.
        tied: the layers whose equal rows count as one; None: all.
    """

    def __init__(
        self,
        dense: nn.Module,
        fitting: list[Inputs],
        held: list[Inputs],
        counter: Counter,
        kinds: Sequence[Alike],
        *,
        ties: bool,
        tied: Collection[str] | None = None,
    ) -> None:
        self._dense, self._held, self._counter = dense, held, counter
        modules = registered_layers(dense)
        self._runs = PairedRuns(dense, fitting)
        moments = self._runs.own_moments()
        layers = counter.cuttable
        self._sizes = {name: registered_kind(modules[name]).n_rows(modules[name], "input") for name in layers}
        self._equal = {name: _equal_rows(rows_of(modules[name]), tied=tied is None or name in tied) for name in layers}
        self._readers = {
            name: Reader.of(dense, name, moments[name][0], self._runs.norms) for name in layers if name in moments
        }
        self._kinds = [kind for kind in kinds if any(name in self._readers for name in kind.readers)]
        found = [self._order(kind, ties) for kind in self._kinds]
        self._orders, self._there = [order for order, _ in found], [there for _, there in found]
        self._wanted = [float_outputs(dense, batch) for batch in held]
        self._scratch = copy.deepcopy(dense)
        chosen = zip(self._kinds, self._orders, self._there, strict=True)
        self._curves = [self._curve(kind, order, there) for kind, order, there in chosen]

    def _order(self, kind: Alike, ties: bool) -> tuple[Steps, int]:
        """The steps, those first that the dense network has taken already, and the number of these."""
        if kind.stay:
            return self._order_of_rows(kind, ties)
        gone = [
            channel
            for channel, rows in enumerate(kind.rows)
            if all(bool((self._equal[name][own] == PRUNED).all()) for name, own in rows.items())
        ]
        if len(gone) == len(kind):
            gone = []
        return [(channel, PRUNED) for channel in ranked(kind, self._readers, gone)], len(gone)

    def _order_of_rows(self, kind: Alike, ties: bool) -> tuple[Steps, int]:
        """The same for the rows of one layer; those that are equal already are one row."""
        (name,) = kind.readers
        channels = {int(rows[name][0]): channel for channel, rows in enumerate(kind.rows)}
        labels = self._equal[name].copy()
        if all(labels[row] == PRUNED for row in channels):
            labels[list(channels)] = labels.max() + 1 + np.arange(len(channels))
        others = np.setdiff1d(np.flatnonzero(labels != PRUNED), list(channels))
        labels[others] = labels.max() + 1 + np.arange(len(others))
        same = Partition.from_labels(labels.tolist())
        first = {label: row for row, label in reversed(list(enumerate(same.labels)))}
        steps = [
            (row, PRUNED if label == PRUNED else first[label])
            for row, label in enumerate(same.labels)
            if row in channels and (label == PRUNED or row != first[label])
        ]
        there, reader = len(steps), self._readers[name].tied(same)
        groups = sorted({same.labels[row] for row in channels} - {PRUNED})
        if ties:
            further = merge_steps(reader, groups, 1)
        else:
            alone = Alike((name,), tuple({name: np.array([group])} for group in groups), stay=True)
            further = [(groups[number], PRUNED) for number in ranked(alone, {name: reader})]
        steps += [(first[group], PRUNED if into == PRUNED else first[into]) for group, into in further]
        return [(channels[row], PRUNED if into == PRUNED else channels[into]) for row, into in steps], there

    def partitions(self, of: str, asked: float) -> tuple[dict[str, Partition], float]:
        """Choose the rows to remove and to tie.

        Args:
            of: the measure, weights, macs or bytes.
            asked: the most that may be left.

        Returns:
            The rows of every layer that changes, and what is left: more than what was asked, if that cannot be met.
        """
        numbers = self._numbers(of, asked)
        labels = self._labels(self._first(numbers))
        return {name: Partition.from_labels(own.tolist()) for name, own in labels.items()}, self._left(numbers, of)

    def labels(self, of: str, asked: float) -> dict[str, NDArray[np.int64]]:
        """Choose as :meth:`partitions`, for every layer: PRUNED, or the row that each row is tied to."""
        return self._every(self._numbers(of, asked))

    def _numbers(self, of: str, asked: float) -> list[int]:
        """The numbers of channels that go; more than the largest share of a kind only where that is not enough."""
        numbers = allocated(self._curves, lambda numbers: self._left(numbers, of), asked)
        if self._left(numbers, of) <= asked:
            return numbers
        chosen = zip(self._kinds, self._orders, self._there, strict=True)
        curves = [self._curve(kind, order, there, (1.0,)) for kind, order, there in chosen]
        return allocated(curves, lambda numbers: self._left(numbers, of), asked)

    def _first(self, numbers: Sequence[int]) -> list[tuple[Alike, Steps]]:
        chosen = zip(self._kinds, self._orders, numbers, strict=True)
        return [(kind, order[:number]) for kind, order, number in chosen]

    def _labels(self, chosen: Sequence[tuple[Alike, Steps]]) -> dict[str, NDArray[np.int64]]:
        """For every layer whose rows change, the row that each row is tied to, itself, or PRUNED."""
        found: dict[str, NDArray[np.int64]] = {}
        for kind, steps in chosen:
            for channel, into in steps:
                for name, rows in kind.rows[channel].items():
                    labels = found.setdefault(name, np.arange(self._sizes[name] + 1))
                    labels[rows] = PRUNED if into == PRUNED else kind.rows[into][name]
        for name, labels in found.items():
            labels[-1] = PRUNED  # the end of a chain whose last row is removed
            while not np.array_equal(labels, labels[labels]):
                labels = labels[labels]
            found[name] = labels[:-1]
        return found

    def _every(self, numbers: Sequence[int]) -> dict[str, NDArray[np.int64]]:
        labels = {name: np.arange(size) for name, size in self._sizes.items()} | self._labels(self._first(numbers))
        for name in labels.keys() & self._runs.positions.keys():
            labels[name] = _with_equal(labels[name], self._equal[name])
        return labels

    def _left(self, numbers: Sequence[int], of: str) -> float:
        labels = self._every(numbers)
        zero = {name: own == PRUNED for name, own in labels.items()}
        tied = {name: (own != np.arange(len(own))) & ~zero[name] for name, own in labels.items()}
        summed = {name: Summed(rows, self._counter.places.get(name, 0)) for name, rows in tied.items() if rows.any()}
        return float(getattr(self._counter.left(zero, summed), of))

    def _curve(self, kind: Alike, order: Steps, there: int, further: Sequence[float] = ()) -> Curve:
        """Measure the outputs' error with channels of one kind removed and least squares on the dense moments."""
        most = max(there, min(len(order), len(kind) - kind.least))
        shares = (*(_SHARES_OF_ROWS if kind.stay else _SHARES), *further)
        removed = sorted({there, *(max(there, min(most, round(share * len(kind)))) for share in shares)})
        errors = [0.0]
        for number in removed[1:]:
            labels = self._labels([(kind, order[:number])])
            change_(self._scratch, {name: Partition.from_labels(own.tolist()) for name, own in labels.items()})
            for name in kind.readers:
                if name in self._readers:
                    layer = LayerToFit(self._scratch, name, self._runs.norms)
                    layer.write_(layer.fits([self._readers[name].moments], [_DAMPING])[0])
            errors.append(output_error(self._scratch, self._wanted, self._held))
            self._restore_(kind.readers)
        return Curve(removed, errors)

    @torch.no_grad()
    def _restore_(self, names: Sequence[str]) -> None:
        """Write the dense network's values back into these layers of the scratch network, and into their norms."""
        for name in (*names, *(self._runs.norms[name] for name in names if name in self._runs.norms)):
            theirs, mine = self._dense.get_submodule(name), self._scratch.get_submodule(name)
            for value, target in zip(theirs.state_dict().values(), mine.state_dict().values(), strict=True):
                target.copy_(value)


def _equal_rows(rows: Tensor, *, tied: bool) -> NDArray[np.int64]:
    """A label for each row: PRUNED for those of zeros, and the same for equal ones if these are ``tied``."""
    labels = np.array(Partition.from_rows(rows).labels)
    return labels if tied else np.where(labels == PRUNED, PRUNED, np.arange(len(labels)))


def _with_equal(labels: NDArray[np.int64], equal: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tie to one another the rows that no step has changed and that are equal; zero rows stay as they are."""
    found, rows = labels.copy(), np.arange(len(labels))
    unchanged = (labels == rows) & ~np.isin(rows, labels[labels != rows]) & (equal != PRUNED)
    for label in np.unique(equal[unchanged]):
        members = rows[unchanged & (equal == label)]
        found[members] = members[0]
    return found


@torch.no_grad()
def change_(network: nn.Module, partitions: Mapping[str, Partition]) -> None:
    """Set removed rows to zero, and those of each group to their mean."""
    for name, partition in partitions.items():
        module = network.get_submodule(name)
        write_rows_(module, averaged_rows(rows_of(module), partition))
